;; Poseidon2 over the scalar field of BN254, for whole blocks and layers at a time.
;;
;; What is computed is said in poseidon2_spec.py. This file is about how: with integers of 254 bits, on a
;; machine whose words have 64.
;;
;; THE FIELD
;;
;; An element is a residue modulo the prime
;;
;;     q = 0x30644e72e131a029 b85045b68181585d 2833e84879b97091 43e1f593f0000001
;;
;; and is kept in four *limbs*, words of 64 bits, the lowest first: a = a0 + a1·B + a2·B² + a3·B³, B = 2^64.
;; Two instructions make this fast: i64.mul_wide_u gives all 128 bits of a product, and i64.add128 adds 128
;; bits to 128. Both give the low half first. The sum a·b + c + d of any four words fits into 128 bits, since
;; (B-1)² + 2(B-1) = B² - 1; that is the step of which everything here is made:
;;
;;     (carry, low) = a·b + c + d
;;
;; MONTGOMERY'S MULTIPLICATION
;;
;; A product has eight limbs, and to reduce it modulo q by division would cost more than to make it. So we
;; do not keep a, but a·R mod q, with R = B⁴ = 2^256, and for a product compute a·b/R mod q instead of a·b:
;;
;;     (a·R)·(b·R)/R = (a·b)·R
;;
;; which is the product in the same form. To divide by B is easy where it goes up: add that multiple m·q of
;; q to the product which makes the lowest limb zero, and drop that limb. Since q is odd such an m exists:
;; m = t0·(-1/q) mod B, of which only the lowest limbs are needed. Done four times, that divides by R.
;;
;; The limbs of b are taken one after the other, and each time what has come up is reduced at once, so that
;; it never grows beyond four limbs ($mul). The reader may check that with a and b below 4q every sum stays
;; below 2^256: before and after each turn t < a + q.
;;
;; LOOSE NUMBERS
;;
;; 2^256 is 5.29·q. There is room above q, and we use it: numbers are not brought below q but at the very
;; end. Every number here is *loose*, which means below 1.34·q, and stands for its residue.
;;
;;   * $mul gives (a·b + m·q)/R with m < R, which is below q·(1 + a·b/(q·R)) < q·(1 + 1.34²/5.29) < 1.34·q.
;;   * $add has a sum below 2.68·q and takes off a multiple of q that it looks up by the sum's top five bits:
;;     the largest multiple that is not above any number with these bits. Less than q + 2^251 = 1.17·q is left.
;;
;; No comparison, no branch, and nothing to wait for but the carries.
;;
;; MEMORY
;;
;; The host writes the tables once (poseidon2.py); constants are in Montgomery's form. In bytes:
;;
;;        0  for each value n of a sum's top five bits, 2^256 - k·q with k = floor(n·2^251 / q)
;;     1024  3 constants for each of the first 4 external rounds
;;     1408  1 constant for each of the 56 internal rounds
;;     3200  3 constants for each of the last 4 external rounds
;;     3584  R² mod q, with which $mul brings a number into Montgomery's form
;;     3616  what the third word of a sponge begins with
;;     3648  zero
;;     3680  the state: three words of 32 bytes
;;     3776  a chunk of data being padded
;;     4096  from here on all is the host's: data, nodes
;;
;; What is hashed here is public: the time it takes may tell what it is.

(module
  (memory (export "memory") 1)

  ;; ---- field elements -------------------------------------------------------------------------------------

  ;; a·b/R mod q, loose.
  (func $mul (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64)
             (param $b0 i64) (param $b1 i64) (param $b2 i64) (param $b3 i64) (result i64 i64 i64 i64)
    (local $t0 i64) (local $t1 i64) (local $t2 i64) (local $t3 i64)  ;; what has come up
    (local $c i64)   ;; the carry of a·b
    (local $d i64)   ;; the carry of m·q
    (local $m i64)

    ;; The first limb of b: t = a·b0. Before each limb of t goes on, m·q is added to it, and it moves down by
    ;; one place; the lowest has become zero and is dropped.
    (i64.mul_wide_u (local.get $a0) (local.get $b0))
    (local.set $c) (local.set $t0)
    (local.set $m (i64.mul (local.get $t0) (i64.const 0xc2e1f593efffffff)))
    (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x43e1f593f0000001)) (local.get $t0) (i64.const 0))
    (local.set $d) (drop)
    (i64.add128 (i64.mul_wide_u (local.get $a1) (local.get $b0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x2833e84879b97091))
      (local.get $t1) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t0)
    (i64.add128 (i64.mul_wide_u (local.get $a2) (local.get $b0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t2)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0xb85045b68181585d))
      (local.get $t2) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t1)
    (i64.add128 (i64.mul_wide_u (local.get $a3) (local.get $b0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t3)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x30644e72e131a029))
      (local.get $t3) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t2)
    ;; Both carries fit into one limb, because t stays below 2^256.
    (local.set $t3 (i64.add (local.get $c) (local.get $d)))

    ;; The second: t + a·b1.
    (i64.add128 (i64.mul_wide_u (local.get $a0) (local.get $b1)) (local.get $t0) (i64.const 0))
    (local.set $c) (local.set $t0)
    (local.set $m (i64.mul (local.get $t0) (i64.const 0xc2e1f593efffffff)))
    (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x43e1f593f0000001)) (local.get $t0) (i64.const 0))
    (local.set $d) (drop)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a1) (local.get $b1))
      (local.get $t1) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x2833e84879b97091))
      (local.get $t1) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t0)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a2) (local.get $b1))
      (local.get $t2) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t2)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0xb85045b68181585d))
      (local.get $t2) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a3) (local.get $b1))
      (local.get $t3) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t3)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x30644e72e131a029))
      (local.get $t3) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t2)
    (local.set $t3 (i64.add (local.get $c) (local.get $d)))

    ;; The third: t + a·b2.
    (i64.add128 (i64.mul_wide_u (local.get $a0) (local.get $b2)) (local.get $t0) (i64.const 0))
    (local.set $c) (local.set $t0)
    (local.set $m (i64.mul (local.get $t0) (i64.const 0xc2e1f593efffffff)))
    (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x43e1f593f0000001)) (local.get $t0) (i64.const 0))
    (local.set $d) (drop)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a1) (local.get $b2))
      (local.get $t1) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x2833e84879b97091))
      (local.get $t1) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t0)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a2) (local.get $b2))
      (local.get $t2) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t2)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0xb85045b68181585d))
      (local.get $t2) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a3) (local.get $b2))
      (local.get $t3) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t3)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x30644e72e131a029))
      (local.get $t3) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t2)
    (local.set $t3 (i64.add (local.get $c) (local.get $d)))

    ;; The fourth: t + a·b3.
    (i64.add128 (i64.mul_wide_u (local.get $a0) (local.get $b3)) (local.get $t0) (i64.const 0))
    (local.set $c) (local.set $t0)
    (local.set $m (i64.mul (local.get $t0) (i64.const 0xc2e1f593efffffff)))
    (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x43e1f593f0000001)) (local.get $t0) (i64.const 0))
    (local.set $d) (drop)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a1) (local.get $b3))
      (local.get $t1) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x2833e84879b97091))
      (local.get $t1) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t0)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a2) (local.get $b3))
      (local.get $t2) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t2)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0xb85045b68181585d))
      (local.get $t2) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t1)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $a3) (local.get $b3))
      (local.get $t3) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $t3)
    (i64.add128 (i64.add128 (i64.mul_wide_u (local.get $m) (i64.const 0x30644e72e131a029))
      (local.get $t3) (i64.const 0)) (local.get $d) (i64.const 0))
    (local.set $d) (local.set $t2)
    (local.set $t3 (i64.add (local.get $c) (local.get $d)))

    (local.get $t0) (local.get $t1) (local.get $t2) (local.get $t3))

  ;; a + b mod q, loose.
  (func $add (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64)
             (param $b0 i64) (param $b1 i64) (param $b2 i64) (param $b3 i64) (result i64 i64 i64 i64)
    (local $k i32)   ;; where the multiple of q is that goes off
    (local $c i64)   ;; carry
    ;; The top five bits, times 32 bytes. A carry from below may be missing in them: then a little less goes
    ;; off than could.
    (local.set $k (i32.and (i32.wrap_i64 (i64.shr_u (i64.add (local.get $a3) (local.get $b3)) (i64.const 54)))
                           (i32.const 0x3e0)))
    ;; The multiple is in the table as what it lacks to 2^256, so adding takes it off, and the last carry goes.
    (i64.add128 (i64.add128 (local.get $a0) (i64.const 0) (local.get $b0) (i64.const 0))
      (i64.load (local.get $k)) (i64.const 0))
    (local.set $c) (local.set $a0)
    (i64.add128 (i64.add128 (i64.add128 (local.get $a1) (i64.const 0) (local.get $b1) (i64.const 0))
      (i64.load offset=8 (local.get $k)) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $a1)
    (i64.add128 (i64.add128 (i64.add128 (local.get $a2) (i64.const 0) (local.get $b2) (i64.const 0))
      (i64.load offset=16 (local.get $k)) (i64.const 0)) (local.get $c) (i64.const 0))
    (local.set $c) (local.set $a2)
    (local.set $a3 (i64.add (i64.add (local.get $a3) (local.get $b3))
                            (i64.add (i64.load offset=24 (local.get $k)) (local.get $c))))
    (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3))

  ;; a - q, and 0, or -1 when a is below q.
  (func $less_q (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64) (result i64 i64 i64 i64 i64)
    (local $c i64)   ;; 0, or -1 to be borrowed
    (i64.sub128 (local.get $a0) (i64.const 0) (i64.const 0x43e1f593f0000001) (i64.const 0))
    (local.set $c) (local.set $a0)
    (i64.add128 (i64.sub128 (local.get $a1) (i64.const 0) (i64.const 0x2833e84879b97091) (i64.const 0))
      (local.get $c) (local.get $c))
    (local.set $c) (local.set $a1)
    (i64.add128 (i64.sub128 (local.get $a2) (i64.const 0) (i64.const 0xb85045b68181585d) (i64.const 0))
      (local.get $c) (local.get $c))
    (local.set $c) (local.set $a2)
    (i64.add128 (i64.sub128 (local.get $a3) (i64.const 0) (i64.const 0x30644e72e131a029) (i64.const 0))
      (local.get $c) (local.get $c))
    (local.set $c) (local.set $a3)
    (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3) (local.get $c))

  (func $load (param $at i32) (result i64 i64 i64 i64)
    (i64.load (local.get $at)) (i64.load offset=8 (local.get $at))
    (i64.load offset=16 (local.get $at)) (i64.load offset=24 (local.get $at)))

  (func $store (param $at i32) (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64)
    (i64.store (local.get $at) (local.get $a0)) (i64.store offset=8 (local.get $at) (local.get $a1))
    (i64.store offset=16 (local.get $at) (local.get $a2)) (i64.store offset=24 (local.get $at) (local.get $a3)))

  ;; ---- the permutation ------------------------------------------------------------------------------------
  ;;
  ;; The words of the state are at 3680, 3712 and 3744.

  ;; a⁵ by three multiplications: a², a⁴, a⁵.
  (func $fifth (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64) (result i64 i64 i64 i64)
    (local $b0 i64) (local $b1 i64) (local $b2 i64) (local $b3 i64)
    (call $mul (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3)
               (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3))
    (local.set $b3) (local.set $b2) (local.set $b1) (local.set $b0)
    (call $mul (local.get $b0) (local.get $b1) (local.get $b2) (local.get $b3)
               (local.get $b0) (local.get $b1) (local.get $b2) (local.get $b3))
    (local.set $b3) (local.set $b2) (local.set $b1) (local.set $b0)
    (call $mul (local.get $b0) (local.get $b1) (local.get $b2) (local.get $b3)
               (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3)))

  ;; Add the sum of the three words of the state to each.
  (func $mix
    (local $s0 i64) (local $s1 i64) (local $s2 i64) (local $s3 i64)
    (call $add (call $add (call $load (i32.const 3680)) (call $load (i32.const 3712)))
               (call $load (i32.const 3744)))
    (local.set $s3) (local.set $s2) (local.set $s1) (local.set $s0)
    (call $store (i32.const 3680) (call $add (call $load (i32.const 3680))
      (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)))
    (call $store (i32.const 3712) (call $add (call $load (i32.const 3712))
      (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)))
    (call $store (i32.const 3744) (call $add (call $load (i32.const 3744))
      (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3))))

  ;; Add a constant to a word of the state, and raise it to the 5th power.
  (func $power (param $word i32) (param $constant i32)
    (call $store (local.get $word)
      (call $fifth (call $add (call $load (local.get $word)) (call $load (local.get $constant))))))

  ;; Four external rounds, with three constants for each, 384 bytes in all.
  (func $external (param $constant i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $constant) (i32.const 384)))
    (loop $round
      (call $power (i32.const 3680) (local.get $constant))
      (call $power (i32.const 3712) (i32.add (local.get $constant) (i32.const 32)))
      (call $power (i32.const 3744) (i32.add (local.get $constant) (i32.const 64)))
      (call $mix)
      (local.set $constant (i32.add (local.get $constant) (i32.const 96)))
      (br_if $round (i32.lt_u (local.get $constant) (local.get $end)))))

  ;; The 56 internal rounds. They are most of the work, so the words x, y, z stay in locals throughout.
  (func $internal
    (local $constant i32)
    (local $x0 i64) (local $x1 i64) (local $x2 i64) (local $x3 i64)
    (local $y0 i64) (local $y1 i64) (local $y2 i64) (local $y3 i64)
    (local $z0 i64) (local $z1 i64) (local $z2 i64) (local $z3 i64)
    (local $s0 i64) (local $s1 i64) (local $s2 i64) (local $s3 i64)
    (call $load (i32.const 3680)) (local.set $x3) (local.set $x2) (local.set $x1) (local.set $x0)
    (call $load (i32.const 3712)) (local.set $y3) (local.set $y2) (local.set $y1) (local.set $y0)
    (call $load (i32.const 3744)) (local.set $z3) (local.set $z2) (local.set $z1) (local.set $z0)
    (local.set $constant (i32.const 1408))
    (loop $round
      ;; x = (x + constant)⁵
      (call $fifth (call $add (local.get $x0) (local.get $x1) (local.get $x2) (local.get $x3)
        (i64.load (local.get $constant)) (i64.load offset=8 (local.get $constant))
        (i64.load offset=16 (local.get $constant)) (i64.load offset=24 (local.get $constant))))
      (local.set $x3) (local.set $x2) (local.set $x1) (local.set $x0)
      ;; s = x + y + z
      (call $add (call $add (local.get $x0) (local.get $x1) (local.get $x2) (local.get $x3)
        (local.get $y0) (local.get $y1) (local.get $y2) (local.get $y3))
        (local.get $z0) (local.get $z1) (local.get $z2) (local.get $z3))
      (local.set $s3) (local.set $s2) (local.set $s1) (local.set $s0)
      ;; x = s + x
      (call $add (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)
                 (local.get $x0) (local.get $x1) (local.get $x2) (local.get $x3))
      (local.set $x3) (local.set $x2) (local.set $x1) (local.set $x0)
      ;; y = s + y
      (call $add (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)
                 (local.get $y0) (local.get $y1) (local.get $y2) (local.get $y3))
      (local.set $y3) (local.set $y2) (local.set $y1) (local.set $y0)
      ;; z = s + z + z
      (call $add (call $add (local.get $s0) (local.get $s1) (local.get $s2) (local.get $s3)
        (local.get $z0) (local.get $z1) (local.get $z2) (local.get $z3))
        (local.get $z0) (local.get $z1) (local.get $z2) (local.get $z3))
      (local.set $z3) (local.set $z2) (local.set $z1) (local.set $z0)
      (local.set $constant (i32.add (local.get $constant) (i32.const 32)))
      (br_if $round (i32.lt_u (local.get $constant) (i32.const 3200))))
    (call $store (i32.const 3680) (local.get $x0) (local.get $x1) (local.get $x2) (local.get $x3))
    (call $store (i32.const 3712) (local.get $y0) (local.get $y1) (local.get $y2) (local.get $y3))
    (call $store (i32.const 3744) (local.get $z0) (local.get $z1) (local.get $z2) (local.get $z3)))

  ;; Permute the state.
  (func $permute
    (call $mix)
    (call $external (i32.const 1024))
    (call $internal)
    (call $external (i32.const 3200)))

  ;; ---- in and out -----------------------------------------------------------------------------------------

  ;; a in Montgomery's form: a·R²/R.
  (func $enter (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64) (result i64 i64 i64 i64)
    (call $mul (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3) (call $load (i32.const 3584))))

  ;; Write the first word of the state as an element below q. Multiplying by 1 divides by R, and leaves no
  ;; more than q itself, which stands for 0.
  (func $leave (param $at i32)
    (local $a0 i64) (local $a1 i64) (local $a2 i64) (local $a3 i64) (local $below i64)
    (call $store (local.get $at)
      (call $mul (call $load (i32.const 3680)) (i64.const 1) (i64.const 0) (i64.const 0) (i64.const 0)))
    (call $less_q (call $load (local.get $at)))
    (local.set $below) (local.set $a3) (local.set $a2) (local.set $a1) (local.set $a0)
    (if (i64.eqz (local.get $below)) (then
      (call $store (local.get $at) (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3)))))

  ;; How many of the elements from `at` on are below q, until the first that is not.
  (func $check (param $at i32) (param $count i32) (result i32)
    (local $good i32) (local $below i64)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $good) (local.get $count)))
        (call $less_q (call $load (i32.add (local.get $at) (i32.shl (local.get $good) (i32.const 5)))))
        (local.set $below) (drop) (drop) (drop) (drop)
        (br_if $done (i64.eqz (local.get $below)))
        (local.set $good (i32.add (local.get $good) (i32.const 1)))
        (br $next)))
    (local.get $good))

  ;; ---- compression and trees ------------------------------------------------------------------------------

  ;; node = compress(left, right, key). The node may be written over either of the two.
  (func $compress (param $left i32) (param $right i32) (param $key i32) (param $node i32)
    (call $store (i32.const 3680) (call $enter (call $load (local.get $left))))
    (call $store (i32.const 3712) (call $enter (call $load (local.get $right))))
    (call $store (i32.const 3744)
      (call $enter (i64.extend_i32_u (local.get $key)) (i64.const 0) (i64.const 0) (i64.const 0)))
    (call $permute)
    (call $leave (local.get $node)))

  ;; Compress so many pairs, 64 bytes each, into as many nodes, 32 bytes each. The nodes may begin where the
  ;; pairs do: every pair is read before anything is written that far.
  (func $pairs (param $pairs i32) (param $count i32) (param $key i32) (param $nodes i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $nodes) (i32.shl (local.get $count) (i32.const 5))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $nodes) (local.get $end)))
        (call $compress (local.get $pairs) (i32.add (local.get $pairs) (i32.const 32))
                        (local.get $key) (local.get $nodes))
        (local.set $pairs (i32.add (local.get $pairs) (i32.const 64)))
        (local.set $nodes (i32.add (local.get $nodes) (i32.const 32)))
        (br $next))))

  ;; The same for pairs from outside. Gives how many of their elements are below q, until the first that is
  ;; not; only when all of them are, anything is compressed.
  (func (export "compress") (param $pairs i32) (param $count i32) (param $key i32) (param $nodes i32) (result i32)
    (local $elements i32) (local $good i32)
    (local.set $elements (i32.shl (local.get $count) (i32.const 1)))
    (local.set $good (call $check (local.get $pairs) (local.get $elements)))
    (if (i32.eq (local.get $good) (local.get $elements)) (then
      (call $pairs (local.get $pairs) (local.get $count) (local.get $key) (local.get $nodes))))
    (local.get $good))

  ;; Build the tree over one or more leaves, each layer over the one below, until its root stands alone in
  ;; the place of the first leaf. Keys: 1 in the bottom layer, otherwise 0; 2 more for a node without
  ;; neighbour, which is compressed with zero.
  (func $root (param $nodes i32) (param $count i32)
    (local $key i32) (local $half i32)
    (local.set $key (i32.const 1))
    (loop $layer
      (local.set $half (i32.shr_u (local.get $count) (i32.const 1)))
      (call $pairs (local.get $nodes) (local.get $half) (local.get $key) (local.get $nodes))
      (if (i32.and (local.get $count) (i32.const 1)) (then
        (call $compress (i32.add (local.get $nodes) (i32.shl (local.get $half) (i32.const 6)))
                        (i32.const 3648) (i32.or (local.get $key) (i32.const 2))
                        (i32.add (local.get $nodes) (i32.shl (local.get $half) (i32.const 5))))
        (local.set $half (i32.add (local.get $half) (i32.const 1)))))
      (local.set $count (local.get $half))
      (local.set $key (i32.const 0))
      (br_if $layer (i32.gt_u (local.get $count) (i32.const 1)))))

  ;; ---- the sponge -----------------------------------------------------------------------------------------

  ;; Add a number below q to a word of the state.
  (func $absorb (param $word i32) (param $a0 i64) (param $a1 i64) (param $a2 i64) (param $a3 i64)
    (call $store (local.get $word) (call $add (call $load (local.get $word))
      (call $enter (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3)))))

  ;; Absorb the 31 bytes from `at` on, of which the last word has seven. Turn to the other of the first two
  ;; words, and permute when both are full. Gives the word that is next.
  (func $chunk (param $word i32) (param $at i32) (result i32)
    (call $absorb (local.get $word)
      (i64.load (local.get $at)) (i64.load offset=8 (local.get $at)) (i64.load offset=16 (local.get $at))
      (i64.and (i64.load offset=24 (local.get $at)) (i64.const 0x00ffffffffffffff)))
    (if (result i32) (i32.eq (local.get $word) (i32.const 3680))
      (then (i32.const 3712))
      (else (call $permute) (i32.const 3680))))

  ;; Hash `size` bytes into one element.
  (func $digest (param $data i32) (param $size i32) (param $node i32)
    (local $word i32)
    (local.set $word (i32.const 3680))
    (call $store (i32.const 3680) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))
    (call $store (i32.const 3712) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))
    (call $store (i32.const 3744) (call $load (i32.const 3616)))
    (block $done
      (loop $next
        (br_if $done (i32.lt_u (local.get $size) (i32.const 31)))
        (local.set $word (call $chunk (local.get $word) (local.get $data)))
        (local.set $data (i32.add (local.get $data) (i32.const 31)))
        (local.set $size (i32.sub (local.get $size) (i32.const 31)))
        (br $next)))
    ;; The 0 to 30 bytes that are left, a byte of 1, and zeros.
    (memory.fill (i32.const 3776) (i32.const 0) (i32.const 32))
    (memory.copy (i32.const 3776) (local.get $data) (local.get $size))
    (i32.store8 (i32.add (i32.const 3776) (local.get $size)) (i32.const 1))
    (local.set $word (call $chunk (local.get $word) (i32.const 3776)))
    ;; The element 1 that ends every sequence; the zero that may follow changes nothing.
    (call $absorb (local.get $word) (i64.const 1) (i64.const 0) (i64.const 0) (i64.const 0))
    (call $permute)
    (call $leave (local.get $node)))

  ;; Hash so many cells of `size` bytes into as many nodes. The nodes stand elsewhere than the data.
  (func $cells (export "cells") (param $data i32) (param $count i32) (param $size i32) (param $nodes i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $nodes) (i32.shl (local.get $count) (i32.const 5))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $nodes) (local.get $end)))
        (call $digest (local.get $data) (local.get $size) (local.get $nodes))
        (local.set $data (i32.add (local.get $data) (local.get $size)))
        (local.set $nodes (i32.add (local.get $nodes) (i32.const 32)))
        (br $next))))

  ;; The root over the cells of a block, in the place of the first node.
  (func (export "block") (param $data i32) (param $count i32) (param $size i32) (param $nodes i32)
    (call $cells (local.get $data) (local.get $count) (local.get $size) (local.get $nodes))
    (call $root (local.get $nodes) (local.get $count))))
