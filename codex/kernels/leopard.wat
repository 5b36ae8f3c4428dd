;; Leopard's erasure code, many bytes at a time. `leopard_spec.py` says what it computes, and why that is
;; right; this page says how it is done fast. Numbers, points, twists and L(x) are what they are there.
;;
;; NUMBERS are of 8 or of 16 bits; an instance is told once which (`begin`). Addition is xor. A product with a
;; fixed number c is a linear map over the bits, so it can be looked up nibble by nibble: c * v is the xor of
;; what c makes of each nibble of v in its place. A table of 16 entries is one vector register, and a "swizzle"
;; looks 16 nibbles up in it at once. With 8 bits this takes two tables; with 16 bits there are four nibbles,
;; and each has a table for the low and one for the high byte of its product. In memory c's tables stand as
;;
;;     +0 nibble 0, low    +16 nibble 0, high    +32 nibble 1, low    +48 nibble 1, high    ... nibble 3
;;
;; of which 8 bits use those at +0 and +32. A table is made from four products: entry v is the xor of those for
;; the bits of v, so it takes a mask for each bit and no loop.
;;
;; ROWS lie at `rows`, `stride` bytes apart. A stride that is a multiple of 4096 would let the same column of
;; all rows fall into the same few lines of the cache, so callers make it an odd number of 64 bytes. Every
;; column of bytes is coded by itself; work goes through all rows `strip` bytes at a time, so that what one
;; step leaves the next one finds in the cache. Sizes, strides and strips are multiples of 64. With 16 bits,
;; each 64 bytes are 32 numbers: first their low bytes, then their high bytes. So 16 numbers are the vectors at
;; p and p + 32, and the next 16 are at p + 16; after those comes p + 64.
;;
;; THE TRANSFORM has a step for each bit of the points. It takes rows in pairs, `distance` = 2^layer apart, in
;; blocks of 2 * distance rows; s_layer(start of the block) = start >> layer is the block's twist c:
;;
;;     split (values to coefficients)   y += x, x += c*y          join (back)   x += c*y, y += x
;;
;; Twists are even (the points of a block begin at a multiple of twice its distance), so c = 0 is common and c
;; = 1 does not occur. With c = 0 both are y += x. Blocks that hold nothing but zeros are left out going there,
;; and blocks in which no value is wanted coming back.
;;
;; RECOVERING has two ways, and the caller takes the shorter. `combine` is the formula at the end of the
;; specification: each wanted row is a sum of K known ones, times a number each. `recover` is for many lost
;; rows. It goes by way of g, which is f times the product of x + e over the missing points e:
;;
;;     1. g on all points: each known row times L there, and zero where a row is missing
;;     2. its coefficients, by splitting
;;     3. its derivative. X_i, the product of the s_j for the bits j of i, has as derivative the sum of the
;;        X_(i - 2^j) for those bits, because s_j' = 1: so coefficient i is added to i - 2^j for each bit j of
;;        i. Row by row upwards, the 2^j rows from i on are added to those before i, 2^j the lowest bit of i:
;;        that does it for all of them. It leaves g itself in the sum, and g is zero where a row is missing.
;;     4. its values there, by joining, divided by L: the derivative of g at a missing point is f times L.
;;
;; L's logarithms are sums over E: log L(x) = sum of log(x + e). As x + e is xor, that is a convolution over
;; xor, and a Walsh-Hadamard transform makes a product of it. All modulo 2^bits - 1, where dividing by the
;; length 2^a is multiplying by 2^(bits - a).
(module
  ;; Memory, in bytes. The places that callers fill are FLAGS, POINTS and what lies from ROWS on.
  ;;
  ;;   0x000000  LOG      16 bits for each number
  ;;   0x020000  EXP      16 bits for each logarithm
  ;;   0x040000  LOCATOR  32 bits for each point: log L there
  ;;   0x080000  WALSH    32 bits for each point: the transform of LOG
  ;;   0x0c0000  NEED     32 bits for each point: how many points below it are wanted
  ;;   0x110000  FLAGS    a byte for each point: 0 known or zero, 1 missing, 2 missing and wanted
  ;;   0x120000  POINTS   16 bits for each row that is known, and then for each that is wanted: its point
  ;;   0x140000  BASIS    16 bits for each vector of the two Cantor bases
  ;;   0x200000  TWISTS   128 bytes for each even number: its tables
  ;;   0x600000  WEIGHTS  128 bytes for each row: the tables of what it is multiplied by
  ;;   0xe00000  ROWS
  (memory (export "memory") 225)

  (global $bits (mut i32) (i32.const 0))
  (global $modulus (mut i32) (i32.const 0))
  ;; Twists below this have their tables.
  (global $ready (mut i32) (i32.const 0))

  ;; ---- Numbers -------------------------------------------------------------------------------------------

  ;; v_i as a polynomial in x, by i: the Cantor basis. First that of 8 bits, then that of 16.
  (data (i32.const 0x140000)
    "\01\00\d6\00\98\00\92\00\56\00\c8\00\58\00\e6\00")
  (data (i32.const 0x140010)
    "\01\00\ca\ac\0e\3c\3e\16\82\c5\2e\ed\4c\91\12\40\98\6c\d8\10\72\6a\00\b9\b8\fd\34\fb\38\ff\1e\99")

  ;; Make LOG and EXP of the field of 8 or 16 bits. Once, before all else.
  (func (export "begin") (param $bits i32)
    (local $polynomial i32) (local $basis i32) (local $power i32) (local $state i32)
    (local $number i32) (local $low i32) (local $half i32) (local $vector i32)
    (global.set $bits (local.get $bits))
    (global.set $modulus (i32.sub (i32.shl (i32.const 1) (local.get $bits)) (i32.const 1)))
    (local.set $polynomial (select (i32.const 0x11d) (i32.const 0x1002d) (i32.eq (local.get $bits) (i32.const 8))))
    (local.set $basis (select (i32.const 0x140000) (i32.const 0x140010) (i32.eq (local.get $bits) (i32.const 8))))
    ;; LOCATOR, for now: the power of x that a polynomial is. x is a number of which all others are powers.
    (local.set $state (i32.const 1))
    (loop $powers
      (i32.store offset=0x040000 (i32.shl (local.get $state) (i32.const 2)) (local.get $power))
      (local.set $state (i32.shl (local.get $state) (i32.const 1)))
      (if (i32.gt_u (local.get $state) (global.get $modulus))
        (then (local.set $state (i32.xor (local.get $state) (local.get $polynomial)))))
      (br_if $powers (i32.lt_u
        (local.tee $power (i32.add (local.get $power) (i32.const 1)))
        (global.get $modulus))))
    ;; WALSH, for now: the polynomial that a number stands for. One more vector doubles what is known.
    (i32.store offset=0x080000 (i32.const 0) (i32.const 0))
    (local.set $half (i32.const 1))
    (loop $vectors
      (local.set $vector (i32.load16_u (local.get $basis)))
      (local.set $low (i32.const 0))
      (loop $numbers
        (local.set $number (i32.add (local.get $half) (local.get $low)))
        (local.set $state (i32.xor
          (local.get $vector)
          (i32.load offset=0x080000 (i32.shl (local.get $low) (i32.const 2)))))
        (i32.store offset=0x080000 (i32.shl (local.get $number) (i32.const 2)) (local.get $state))
        (local.set $power (i32.load offset=0x040000 (i32.shl (local.get $state) (i32.const 2))))
        (i32.store16 (i32.shl (local.get $number) (i32.const 1)) (local.get $power))
        (i32.store16 offset=0x020000 (i32.shl (local.get $power) (i32.const 1)) (local.get $number))
        (br_if $numbers (i32.lt_u
          (local.tee $low (i32.add (local.get $low) (i32.const 1)))
          (local.get $half))))
      (local.set $basis (i32.add (local.get $basis) (i32.const 2)))
      (local.set $half (i32.shl (local.get $half) (i32.const 1)))
      (br_if $vectors (i32.le_u (local.get $half) (global.get $modulus)))))

  ;; The logarithm of a number, which is not zero.
  (func $log (param $number i32) (result i32)
    (i32.load16_u (i32.shl (local.get $number) (i32.const 1))))

  ;; The product of a number, which is not zero, and the one that has this logarithm.
  (func $product (param $number i32) (param $log i32) (result i32)
    (i32.load16_u offset=0x020000 (i32.shl
      (i32.rem_u (i32.add (call $log (local.get $number)) (local.get $log)) (global.get $modulus))
      (i32.const 1))))

  ;; Store at `at` the tables of the number with logarithm `log`.
  (func $table (param $at i32) (param $log i32)
    (local $nibble i32) (local $a i32) (local $b i32) (local $c i32) (local $d i32)
    (local.set $nibble (i32.const 1))
    (loop $nibbles
      (local.set $a (call $product (local.get $nibble) (local.get $log)))
      (local.set $b (call $product (i32.shl (local.get $nibble) (i32.const 1)) (local.get $log)))
      (local.set $c (call $product (i32.shl (local.get $nibble) (i32.const 2)) (local.get $log)))
      (local.set $d (call $product (i32.shl (local.get $nibble) (i32.const 3)) (local.get $log)))
      (v128.store (local.get $at)
        (call $sums (local.get $a) (local.get $b) (local.get $c) (local.get $d)))
      (v128.store offset=16 (local.get $at)
        (call $sums
          (i32.shr_u (local.get $a) (i32.const 8)) (i32.shr_u (local.get $b) (i32.const 8))
          (i32.shr_u (local.get $c) (i32.const 8)) (i32.shr_u (local.get $d) (i32.const 8))))
      (local.set $at (i32.add (local.get $at) (i32.const 32)))
      (br_if $nibbles (i32.lt_u
        (local.tee $nibble (i32.shl (local.get $nibble) (i32.const 4)))
        (global.get $modulus)))))

  ;; Sixteen bytes: byte v is the xor of the low bytes of those of a, b, c, d for which v has bit 0, 1, 2, 3.
  (func $sums (param $a i32) (param $b i32) (param $c i32) (param $d i32) (result v128)
    (v128.xor
      (v128.xor
        (v128.and (i8x16.splat (local.get $a)) (v128.const i8x16 0 -1 0 -1 0 -1 0 -1 0 -1 0 -1 0 -1 0 -1))
        (v128.and (i8x16.splat (local.get $b)) (v128.const i8x16 0 0 -1 -1 0 0 -1 -1 0 0 -1 -1 0 0 -1 -1)))
      (v128.xor
        (v128.and (i8x16.splat (local.get $c)) (v128.const i8x16 0 0 0 0 -1 -1 -1 -1 0 0 0 0 -1 -1 -1 -1))
        (v128.and (i8x16.splat (local.get $d)) (v128.const i8x16 0 0 0 0 0 0 0 0 -1 -1 -1 -1 -1 -1 -1 -1)))))

  ;; Have the tables of all twists below `length`.
  (func $twists (param $length i32)
    (local $twist i32)
    (local.set $twist (select (global.get $ready) (i32.const 2) (global.get $ready)))
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $twist) (local.get $length)))
        (call $table
          (i32.add (i32.const 0x200000) (i32.shl (local.get $twist) (i32.const 6)))
          (call $log (local.get $twist)))
        (local.set $twist (i32.add (local.get $twist) (i32.const 2)))
        (global.set $ready (local.get $twist))
        (br $more))))

  ;; ---- Rows ----------------------------------------------------------------------------------------------
  ;; x and y are addresses, `size` is in bytes, `at` is where tables are.

  ;; y += x
  (func $add (param $x i32) (param $y i32) (param $size i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $x) (local.get $size)))
    (loop $more
      (v128.store (local.get $y) (v128.xor (v128.load (local.get $y)) (v128.load (local.get $x))))
      (v128.store offset=16 (local.get $y)
        (v128.xor (v128.load offset=16 (local.get $y)) (v128.load offset=16 (local.get $x))))
      (v128.store offset=32 (local.get $y)
        (v128.xor (v128.load offset=32 (local.get $y)) (v128.load offset=32 (local.get $x))))
      (v128.store offset=48 (local.get $y)
        (v128.xor (v128.load offset=48 (local.get $y)) (v128.load offset=48 (local.get $x))))
      (local.set $y (i32.add (local.get $y) (i32.const 64)))
      (br_if $more (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (i32.const 64)))
        (local.get $end)))))

  ;; y += x, x += c*y
  (func $split (param $x i32) (param $y i32) (param $size i32) (param $twist i32)
    (local $at i32)
    (if (i32.eqz (local.get $twist))
      (then (return (call $add (local.get $x) (local.get $y) (local.get $size)))))
    (local.set $at (i32.add (i32.const 0x200000) (i32.shl (local.get $twist) (i32.const 6))))
    (if (i32.eq (global.get $bits) (i32.const 8))
      (then (call $split8 (local.get $x) (local.get $y) (local.get $size) (local.get $at)))
      (else (call $split16 (local.get $x) (local.get $y) (local.get $size) (local.get $at)))))

  (func $split8 (param $x i32) (param $y i32) (param $size i32) (param $at i32)
    (local $end i32) (local $low v128) (local $high v128) (local $nibble v128) (local $a v128) (local $b v128)
    (local.set $end (i32.add (local.get $x) (local.get $size)))
    (local.set $low (v128.load (local.get $at)))
    (local.set $high (v128.load offset=32 (local.get $at)))
    (local.set $nibble (i8x16.splat (i32.const 15)))
    (loop $more
      (v128.store (local.get $y) (local.tee $b (v128.xor
        (v128.load (local.get $y))
        (local.tee $a (v128.load (local.get $x))))))
      (v128.store (local.get $x) (v128.xor (local.get $a) (v128.xor
        (i8x16.relaxed_swizzle (local.get $low) (v128.and (local.get $b) (local.get $nibble)))
        (i8x16.relaxed_swizzle (local.get $high)
          (v128.and (i16x8.shr_u (local.get $b) (i32.const 4)) (local.get $nibble))))))
      (v128.store offset=16 (local.get $y) (local.tee $b (v128.xor
        (v128.load offset=16 (local.get $y))
        (local.tee $a (v128.load offset=16 (local.get $x))))))
      (v128.store offset=16 (local.get $x) (v128.xor (local.get $a) (v128.xor
        (i8x16.relaxed_swizzle (local.get $low) (v128.and (local.get $b) (local.get $nibble)))
        (i8x16.relaxed_swizzle (local.get $high)
          (v128.and (i16x8.shr_u (local.get $b) (i32.const 4)) (local.get $nibble))))))
      (local.set $y (i32.add (local.get $y) (i32.const 32)))
      (br_if $more (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (i32.const 32)))
        (local.get $end)))))

  ;; Sixteen numbers at once: low bytes at x and y, high bytes 32 behind. See NUMBERS and ROWS above.
  (func $split16 (param $x i32) (param $y i32) (param $size i32) (param $at i32)
    (local $end i32) (local $step i32)
    (local $low v128) (local $high v128) (local $nibble v128) (local $n v128)
    (local $t0 v128) (local $t1 v128) (local $t2 v128) (local $t3 v128)
    (local $u0 v128) (local $u1 v128) (local $u2 v128) (local $u3 v128)
    (local $p v128) (local $q v128)
    (local.set $end (i32.add (local.get $x) (local.get $size)))
    (local.set $nibble (i8x16.splat (i32.const 15)))
    (local.set $t0 (v128.load (local.get $at)))
    (local.set $u0 (v128.load offset=16 (local.get $at)))
    (local.set $t1 (v128.load offset=32 (local.get $at)))
    (local.set $u1 (v128.load offset=48 (local.get $at)))
    (local.set $t2 (v128.load offset=64 (local.get $at)))
    (local.set $u2 (v128.load offset=80 (local.get $at)))
    (local.set $t3 (v128.load offset=96 (local.get $at)))
    (local.set $u3 (v128.load offset=112 (local.get $at)))
    (loop $more
      (v128.store (local.get $y) (local.tee $low
        (v128.xor (v128.load (local.get $y)) (local.tee $p (v128.load (local.get $x))))))
      (v128.store offset=32 (local.get $y) (local.tee $high
        (v128.xor (v128.load offset=32 (local.get $y)) (local.tee $q (v128.load offset=32 (local.get $x))))))
      (local.set $n (v128.and (local.get $low) (local.get $nibble)))
      (local.set $p (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t0) (local.get $n))))
      (local.set $q (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u0) (local.get $n))))
      (local.set $n (v128.and (i16x8.shr_u (local.get $low) (i32.const 4)) (local.get $nibble)))
      (local.set $p (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t1) (local.get $n))))
      (local.set $q (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u1) (local.get $n))))
      (local.set $n (v128.and (local.get $high) (local.get $nibble)))
      (local.set $p (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t2) (local.get $n))))
      (local.set $q (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u2) (local.get $n))))
      (local.set $n (v128.and (i16x8.shr_u (local.get $high) (i32.const 4)) (local.get $nibble)))
      (v128.store (local.get $x)
        (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t3) (local.get $n))))
      (v128.store offset=32 (local.get $x)
        (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u3) (local.get $n))))
      (local.set $y (i32.add (local.get $y) (local.tee $step
        (i32.add (i32.const 16) (i32.shl (i32.and (local.get $x) (i32.const 16)) (i32.const 1))))))
      (br_if $more (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (local.get $step)))
        (local.get $end)))))

  ;; x += c*y
  (func $multiply_add (param $x i32) (param $y i32) (param $size i32) (param $at i32)
    (if (i32.eq (global.get $bits) (i32.const 8))
      (then (call $multiply_add8 (local.get $x) (local.get $y) (local.get $size) (local.get $at)))
      (else (call $multiply_add16 (local.get $x) (local.get $y) (local.get $size) (local.get $at)))))

  (func $multiply_add8 (param $x i32) (param $y i32) (param $size i32) (param $at i32)
    (local $end i32) (local $low v128) (local $high v128) (local $nibble v128) (local $b v128)
    (local.set $end (i32.add (local.get $x) (local.get $size)))
    (local.set $low (v128.load (local.get $at)))
    (local.set $high (v128.load offset=32 (local.get $at)))
    (local.set $nibble (i8x16.splat (i32.const 15)))
    (loop $more
      (local.set $b (v128.load (local.get $y)))
      (v128.store (local.get $x) (v128.xor (v128.load (local.get $x)) (v128.xor
        (i8x16.relaxed_swizzle (local.get $low) (v128.and (local.get $b) (local.get $nibble)))
        (i8x16.relaxed_swizzle (local.get $high)
          (v128.and (i16x8.shr_u (local.get $b) (i32.const 4)) (local.get $nibble))))))
      (local.set $b (v128.load offset=16 (local.get $y)))
      (v128.store offset=16 (local.get $x) (v128.xor (v128.load offset=16 (local.get $x)) (v128.xor
        (i8x16.relaxed_swizzle (local.get $low) (v128.and (local.get $b) (local.get $nibble)))
        (i8x16.relaxed_swizzle (local.get $high)
          (v128.and (i16x8.shr_u (local.get $b) (i32.const 4)) (local.get $nibble))))))
      (local.set $y (i32.add (local.get $y) (i32.const 32)))
      (br_if $more (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (i32.const 32)))
        (local.get $end)))))

  (func $multiply_add16 (param $x i32) (param $y i32) (param $size i32) (param $at i32)
    (local $end i32) (local $step i32)
    (local $low v128) (local $high v128) (local $nibble v128) (local $n v128)
    (local $t0 v128) (local $t1 v128) (local $t2 v128) (local $t3 v128)
    (local $u0 v128) (local $u1 v128) (local $u2 v128) (local $u3 v128)
    (local $p v128) (local $q v128)
    (local.set $end (i32.add (local.get $x) (local.get $size)))
    (local.set $nibble (i8x16.splat (i32.const 15)))
    (local.set $t0 (v128.load (local.get $at)))
    (local.set $u0 (v128.load offset=16 (local.get $at)))
    (local.set $t1 (v128.load offset=32 (local.get $at)))
    (local.set $u1 (v128.load offset=48 (local.get $at)))
    (local.set $t2 (v128.load offset=64 (local.get $at)))
    (local.set $u2 (v128.load offset=80 (local.get $at)))
    (local.set $t3 (v128.load offset=96 (local.get $at)))
    (local.set $u3 (v128.load offset=112 (local.get $at)))
    (loop $more
      (local.set $low (v128.load (local.get $y)))
      (local.set $high (v128.load offset=32 (local.get $y)))
      (local.set $n (v128.and (local.get $low) (local.get $nibble)))
      (local.set $p (v128.xor (v128.load (local.get $x))
        (i8x16.relaxed_swizzle (local.get $t0) (local.get $n))))
      (local.set $q (v128.xor (v128.load offset=32 (local.get $x))
        (i8x16.relaxed_swizzle (local.get $u0) (local.get $n))))
      (local.set $n (v128.and (i16x8.shr_u (local.get $low) (i32.const 4)) (local.get $nibble)))
      (local.set $p (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t1) (local.get $n))))
      (local.set $q (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u1) (local.get $n))))
      (local.set $n (v128.and (local.get $high) (local.get $nibble)))
      (local.set $p (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t2) (local.get $n))))
      (local.set $q (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u2) (local.get $n))))
      (local.set $n (v128.and (i16x8.shr_u (local.get $high) (i32.const 4)) (local.get $nibble)))
      (v128.store (local.get $x)
        (v128.xor (local.get $p) (i8x16.relaxed_swizzle (local.get $t3) (local.get $n))))
      (v128.store offset=32 (local.get $x)
        (v128.xor (local.get $q) (i8x16.relaxed_swizzle (local.get $u3) (local.get $n))))
      (local.set $y (i32.add (local.get $y) (local.tee $step
        (i32.add (i32.const 16) (i32.shl (i32.and (local.get $x) (i32.const 16)) (i32.const 1))))))
      (br_if $more (i32.lt_u
        (local.tee $x (i32.add (local.get $x) (local.get $step)))
        (local.get $end)))))

  ;; x += c*y, y += x
  (func $join (param $x i32) (param $y i32) (param $size i32) (param $twist i32)
    (if (local.get $twist)
      (then (call $multiply_add
        (local.get $x) (local.get $y) (local.get $size)
        (i32.add (i32.const 0x200000) (i32.shl (local.get $twist) (i32.const 6))))))
    (call $add (local.get $x) (local.get $y) (local.get $size)))

  ;; ---- The transform -------------------------------------------------------------------------------------
  ;; On `size` bytes of `count` rows, a power of two, that begin at `rows`.

  ;; From the values at the points from `first` on to coefficients. Rows from `filled` on are zero.
  (func $to_coefficients
    (param $rows i32) (param $stride i32) (param $size i32) (param $count i32)
    (param $filled i32) (param $first i32)
    (local $layer i32) (local $distance i32) (local $start i32) (local $x i32) (local $y i32) (local $end i32)
    (if (i32.gt_u (local.get $filled) (local.get $count))
      (then (local.set $filled (local.get $count))))
    (loop $layers
      (local.set $distance (i32.shl (i32.const 1) (local.get $layer)))
      (if (i32.ge_u (local.get $distance) (local.get $count)) (then (return)))
      (local.set $start (i32.const 0))
      (loop $blocks
        (local.set $x (i32.add (local.get $rows) (i32.mul (local.get $start) (local.get $stride))))
        (local.set $end (i32.add (local.get $x) (i32.mul (local.get $distance) (local.get $stride))))
        (local.set $y (local.get $end))
        (loop $pairs
          (call $split (local.get $x) (local.get $y) (local.get $size)
            (i32.shr_u (i32.add (local.get $first) (local.get $start)) (local.get $layer)))
          (local.set $y (i32.add (local.get $y) (local.get $stride)))
          (br_if $pairs (i32.lt_u
            (local.tee $x (i32.add (local.get $x) (local.get $stride)))
            (local.get $end))))
        (local.set $start (i32.add (local.get $start) (i32.shl (local.get $distance) (i32.const 1))))
        (br_if $blocks (i32.lt_u (local.get $start) (local.get $filled))))
      (local.set $layer (i32.add (local.get $layer) (i32.const 1)))
      (br $layers)))

  ;; From coefficients to the values at the points from 0 on. Those that NEED does not count come out wrong.
  (func $to_values (param $rows i32) (param $stride i32) (param $size i32) (param $count i32)
    (local $layer i32) (local $distance i32) (local $start i32) (local $x i32) (local $y i32) (local $end i32)
    (local.set $layer (i32.ctz (local.get $count)))
    (loop $layers
      (if (i32.eqz (local.get $layer)) (then (return)))
      (local.set $layer (i32.sub (local.get $layer) (i32.const 1)))
      (local.set $distance (i32.shl (i32.const 1) (local.get $layer)))
      (local.set $start (i32.const 0))
      (loop $blocks
        (if (call $wanted
              (local.get $start)
              (i32.add (local.get $start) (i32.shl (local.get $distance) (i32.const 1))))
          (then
            (local.set $x (i32.add (local.get $rows) (i32.mul (local.get $start) (local.get $stride))))
            (local.set $end (i32.add (local.get $x) (i32.mul (local.get $distance) (local.get $stride))))
            (local.set $y (local.get $end))
            (loop $pairs
              (call $join (local.get $x) (local.get $y) (local.get $size)
                (i32.shr_u (local.get $start) (local.get $layer)))
              (local.set $y (i32.add (local.get $y) (local.get $stride)))
              (br_if $pairs (i32.lt_u
                (local.tee $x (i32.add (local.get $x) (local.get $stride)))
                (local.get $end))))))
        (local.set $start (i32.add (local.get $start) (i32.shl (local.get $distance) (i32.const 1))))
        (br_if $blocks (i32.lt_u (local.get $start) (local.get $count))))
      (br $layers)))

  ;; Whether a point from `start` to before `stop` is wanted.
  (func $wanted (param $start i32) (param $stop i32) (result i32)
    (i32.ne
      (i32.load offset=0x0c0000 (i32.shl (local.get $start) (i32.const 2)))
      (i32.load offset=0x0c0000 (i32.shl (local.get $stop) (i32.const 2)))))

  ;; ---- Encoding ------------------------------------------------------------------------------------------

  ;; Code `k` rows of `size` bytes. The first `parity` rows become the parity, the others are used up.
  ;;
  ;; `head` is the power of two that holds `parity`, `length` that which holds head + k. There is room for `k`
  ;; rows rounded up to a multiple of `head`.
  (func (export "encode")
    (param $rows i32) (param $stride i32) (param $size i32) (param $strip i32)
    (param $k i32) (param $parity i32) (param $head i32) (param $length i32)
    (local $end i32) (local $first i32) (local $row i32) (local $group i32)
    (call $twists (local.get $length))
    (loop $points
      (i32.store offset=0x0c0000 (i32.shl (local.get $row) (i32.const 2))
        (select (local.get $row) (local.get $parity) (i32.lt_u (local.get $row) (local.get $parity))))
      (br_if $points (i32.le_u
        (local.tee $row (i32.add (local.get $row) (i32.const 1)))
        (local.get $head))))
    (local.set $end (i32.add (local.get $rows) (local.get $size)))
    (loop $strips
      (if (i32.gt_u (i32.add (local.get $rows) (local.get $strip)) (local.get $end))
        (then (local.set $strip (i32.sub (local.get $end) (local.get $rows)))))
      ;; The last group may have fewer rows than there are in a group.
      (local.set $row (local.get $k))
      (block $full
        (loop $fill
          (br_if $full (i32.eqz (i32.rem_u (local.get $row) (local.get $head))))
          (memory.fill
            (i32.add (local.get $rows) (i32.mul (local.get $row) (local.get $stride)))
            (i32.const 0) (local.get $strip))
          (local.set $row (i32.add (local.get $row) (i32.const 1)))
          (br $fill)))
      (local.set $first (i32.const 0))
      (loop $groups
        (local.set $group (i32.add (local.get $rows) (i32.mul (local.get $first) (local.get $stride))))
        (call $to_coefficients
          (local.get $group) (local.get $stride) (local.get $strip) (local.get $head)
          (i32.sub (local.get $k) (local.get $first))
          (i32.add (local.get $head) (local.get $first)))
        (if (local.get $first)
          (then
            (local.set $row (i32.const 0))
            (loop $sum
              (call $add
                (i32.add (local.get $group) (i32.mul (local.get $row) (local.get $stride)))
                (i32.add (local.get $rows) (i32.mul (local.get $row) (local.get $stride)))
                (local.get $strip))
              (br_if $sum (i32.lt_u
                (local.tee $row (i32.add (local.get $row) (i32.const 1)))
                (local.get $head))))))
        (br_if $groups (i32.lt_u
          (local.tee $first (i32.add (local.get $first) (local.get $head)))
          (local.get $k))))
      (call $to_values (local.get $rows) (local.get $stride) (local.get $strip) (local.get $head))
      (br_if $strips (i32.lt_u
        (local.tee $rows (i32.add (local.get $rows) (local.get $strip)))
        (local.get $end)))))

  ;; ---- Recovering ----------------------------------------------------------------------------------------

  ;; Make LOCATOR, and NEED, from the FLAGS of `length` points, a power of two.
  (func $locate (param $length i32)
    (local $point i32) (local $place i32) (local $flag i32) (local $wanted i32) (local $inverse i32)
    (loop $points
      (local.set $place (i32.shl (local.get $point) (i32.const 2)))
      (local.set $flag (i32.load8_u offset=0x110000 (local.get $point)))
      (i32.store offset=0x040000 (local.get $place) (i32.ne (local.get $flag) (i32.const 0)))
      (i32.store offset=0x080000 (local.get $place)
        (if (result i32) (local.get $point) (then (call $log (local.get $point))) (else (i32.const 0))))
      (i32.store offset=0x0c0000 (local.get $place) (local.get $wanted))
      (local.set $wanted (i32.add (local.get $wanted) (i32.eq (local.get $flag) (i32.const 2))))
      (br_if $points (i32.lt_u
        (local.tee $point (i32.add (local.get $point) (i32.const 1)))
        (local.get $length))))
    (i32.store offset=0x0c0000 (i32.shl (local.get $length) (i32.const 2)) (local.get $wanted))
    (call $walsh (i32.const 0x040000) (local.get $length))
    (call $walsh (i32.const 0x080000) (local.get $length))
    (local.set $inverse (i32.shl (i32.const 1)
      (i32.sub (global.get $bits) (i32.ctz (local.get $length)))))
    (local.set $point (i32.const 0))
    (loop $points
      (local.set $place (i32.shl (local.get $point) (i32.const 2)))
      (i32.store offset=0x040000 (local.get $place)
        (i32.rem_u
          (i32.mul
            (i32.rem_u
              (i32.mul
                (i32.load offset=0x040000 (local.get $place))
                (i32.load offset=0x080000 (local.get $place)))
              (global.get $modulus))
            (local.get $inverse))
          (global.get $modulus)))
      (br_if $points (i32.lt_u
        (local.tee $point (i32.add (local.get $point) (i32.const 1)))
        (local.get $length))))
    (call $walsh (i32.const 0x040000) (local.get $length)))

  ;; The Walsh-Hadamard transform of `length` numbers below the modulus, in place: a, b become a + b, a - b.
  (func $walsh (param $numbers i32) (param $length i32)
    (local $distance i32) (local $start i32) (local $x i32) (local $y i32) (local $end i32) (local $last i32)
    (local $a i32) (local $b i32)
    (local.set $last (i32.add (local.get $numbers) (i32.shl (local.get $length) (i32.const 2))))
    (local.set $distance (i32.const 4))
    (loop $layers
      (local.set $x (local.get $numbers))
      (loop $blocks
        (local.set $end (i32.add (local.get $x) (local.get $distance)))
        (local.set $y (local.get $end))
        (loop $pairs
          (local.set $a (i32.load (local.get $x)))
          (local.set $b (i32.load (local.get $y)))
          (i32.store (local.get $x)
            (i32.rem_u (i32.add (local.get $a) (local.get $b)) (global.get $modulus)))
          (i32.store (local.get $y)
            (i32.rem_u
              (i32.sub (i32.add (local.get $a) (global.get $modulus)) (local.get $b))
              (global.get $modulus)))
          (local.set $y (i32.add (local.get $y) (i32.const 4)))
          (br_if $pairs (i32.lt_u
            (local.tee $x (i32.add (local.get $x) (i32.const 4)))
            (local.get $end))))
        (br_if $blocks (i32.lt_u (local.tee $x (local.get $y)) (local.get $last))))
      (local.set $distance (i32.shl (local.get $distance) (i32.const 1)))
      (br_if $layers (i32.lt_u
        (i32.add (local.get $numbers) (local.get $distance))
        (local.get $last)))))

  ;; log L at a point.
  (func $locator (param $point i32) (result i32)
    (i32.load offset=0x040000 (i32.shl (local.get $point) (i32.const 2))))

  ;; Where the tables of a row's weight stand.
  (func $weight (param $number i32) (result i32)
    (i32.add (i32.const 0x600000) (i32.shl (local.get $number) (i32.const 7))))

  ;; The point at which a row stands.
  (func $point (param $row i32) (result i32)
    (i32.load16_u offset=0x120000 (i32.shl (local.get $row) (i32.const 1))))

  ;; Find `wanted` rows by weighted sums of `known` others, as POINTS and FLAGS say: the rows that are known
  ;; stand first, those that are wanted come behind them.
  (func (export "combine")
    (param $rows i32) (param $stride i32) (param $size i32) (param $strip i32)
    (param $known i32) (param $wanted i32) (param $length i32)
    (local $row i32) (local $target i32) (local $end i32) (local $at i32) (local $from i32) (local $width i32)
    (call $locate (local.get $length))
    (local.set $target (local.get $known))
    (loop $targets
      ;; log of L(s) / (L(x) (x + s)): what is divided by is taken from twice the modulus.
      (local.set $row (i32.const 0))
      (loop $weigh
        (call $table
          (call $weight (local.get $row))
          (i32.rem_u
            (i32.sub
              (i32.sub
                (i32.add
                  (i32.shl (global.get $modulus) (i32.const 1))
                  (call $locator (call $point (local.get $row))))
                (call $locator (call $point (local.get $target))))
              (call $log (i32.xor (call $point (local.get $row)) (call $point (local.get $target)))))
            (global.get $modulus)))
        (br_if $weigh (i32.lt_u
          (local.tee $row (i32.add (local.get $row) (i32.const 1)))
          (local.get $known))))
      (local.set $at (i32.add (local.get $rows) (i32.mul (local.get $target) (local.get $stride))))
      (memory.fill (local.get $at) (i32.const 0) (local.get $size))
      (local.set $end (i32.add (local.get $at) (local.get $size)))
      (local.set $from (local.get $rows))
      (local.set $width (local.get $strip))
      (loop $strips
        (if (i32.gt_u (i32.add (local.get $at) (local.get $width)) (local.get $end))
          (then (local.set $width (i32.sub (local.get $end) (local.get $at)))))
        (local.set $row (i32.const 0))
        (loop $sum
          (call $multiply_add
            (local.get $at)
            (i32.add (local.get $from) (i32.mul (local.get $row) (local.get $stride)))
            (local.get $width)
            (call $weight (local.get $row)))
          (br_if $sum (i32.lt_u
            (local.tee $row (i32.add (local.get $row) (i32.const 1)))
            (local.get $known))))
        (local.set $from (i32.add (local.get $from) (local.get $width)))
        (br_if $strips (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (local.get $width)))
          (local.get $end))))
      (br_if $targets (i32.lt_u
        (local.tee $target (i32.add (local.get $target) (i32.const 1)))
        (i32.add (local.get $known) (local.get $wanted))))))

  ;; The same by transforms. `filled` points have a row (known, missing or of nobody), the others are zero;
  ;; `work` is room for `length` rows of `strip` bytes, strip + 64 bytes apart.
  (func (export "recover")
    (param $rows i32) (param $stride i32) (param $size i32) (param $strip i32)
    (param $known i32) (param $wanted i32) (param $length i32) (param $filled i32) (param $work i32)
    (local $apart i32) (local $end i32) (local $row i32) (local $stop i32) (local $at i32) (local $bit i32)
    (call $twists (local.get $length))
    (call $locate (local.get $length))
    (local.set $stop (i32.add (local.get $known) (local.get $wanted)))
    ;; Times L what is known, divided by L what is wanted.
    (loop $weigh
      (call $table
        (call $weight (local.get $row))
        (if (result i32) (i32.lt_u (local.get $row) (local.get $known))
          (then (call $locator (call $point (local.get $row))))
          (else (i32.sub (global.get $modulus) (call $locator (call $point (local.get $row)))))))
      (br_if $weigh (i32.lt_u
        (local.tee $row (i32.add (local.get $row) (i32.const 1)))
        (local.get $stop))))
    (local.set $apart (i32.add (local.get $strip) (i32.const 64)))
    (local.set $end (i32.add (local.get $rows) (local.get $size)))
    (loop $strips
      (if (i32.gt_u (i32.add (local.get $rows) (local.get $strip)) (local.get $end))
        (then (local.set $strip (i32.sub (local.get $end) (local.get $rows)))))
      (memory.fill (local.get $work) (i32.const 0) (i32.mul (local.get $length) (local.get $apart)))
      (local.set $row (i32.const 0))
      (loop $scale
        (call $multiply_add
          (i32.add (local.get $work) (i32.mul (call $point (local.get $row)) (local.get $apart)))
          (i32.add (local.get $rows) (i32.mul (local.get $row) (local.get $stride)))
          (local.get $strip)
          (call $weight (local.get $row)))
        (br_if $scale (i32.lt_u
          (local.tee $row (i32.add (local.get $row) (i32.const 1)))
          (local.get $known))))
      (call $to_coefficients
        (local.get $work) (local.get $apart) (local.get $strip) (local.get $length)
        (local.get $filled) (i32.const 0))
      ;; The derivative.
      (local.set $row (i32.const 1))
      (loop $derive
        (local.set $bit (i32.mul (local.get $apart)
          (i32.and (local.get $row) (i32.sub (i32.const 0) (local.get $row)))))
        (local.set $at (i32.add (local.get $work) (i32.mul (local.get $row) (local.get $apart))))
        (call $add (local.get $at) (i32.sub (local.get $at) (local.get $bit)) (local.get $bit))
        (br_if $derive (i32.lt_u
          (local.tee $row (i32.add (local.get $row) (i32.const 1)))
          (local.get $length))))
      (call $to_values (local.get $work) (local.get $apart) (local.get $strip) (local.get $length))
      (local.set $row (local.get $known))
      (loop $divide
        (local.set $at (i32.add (local.get $rows) (i32.mul (local.get $row) (local.get $stride))))
        (memory.fill (local.get $at) (i32.const 0) (local.get $strip))
        (call $multiply_add
          (local.get $at)
          (i32.add (local.get $work) (i32.mul (call $point (local.get $row)) (local.get $apart)))
          (local.get $strip)
          (call $weight (local.get $row)))
        (br_if $divide (i32.lt_u
          (local.tee $row (i32.add (local.get $row) (i32.const 1)))
          (local.get $stop))))
      (br_if $strips (i32.lt_u
        (local.tee $rows (i32.add (local.get $rows) (local.get $strip)))
        (local.get $end)))))
)
