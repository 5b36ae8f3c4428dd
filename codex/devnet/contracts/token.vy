# pragma version 0.4.3
# pragma evm-version cancun
"""
@title  The token that storage is paid with on a development chain
@notice An ERC-20 token that anybody may mint: it is worth nothing, and no chain with value on it wants it.
        What it refuses it refuses with the errors of ERC-6093, as the tokens of live networks do.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

name: public(constant(String[16])) = "Codex Test Token"
symbol: public(constant(String[3])) = "TST"
decimals: public(constant(uint8)) = 18

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def transfer(to: address, amount: uint256) -> bool:
    self._move(msg.sender, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self._permit(msg.sender, spender)
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[owner][msg.sender]
    # The largest allowance of all stands for "without limit" and is not used up.
    if allowed != max_value(uint256):
        if allowed < amount:
            raw_revert(
                abi_encode(
                    msg.sender,
                    allowed,
                    amount,
                    method_id=method_id("ERC20InsufficientAllowance(address,uint256,uint256)"),
                )
            )
        self._permit(owner, msg.sender)
        self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, to, amount)
    return True


@external
def mint(holder: address, amount: uint256):
    """
    @notice Make `amount` units out of nothing, for `holder`. Anybody may.
    """
    if holder == empty(address):
        raw_revert(abi_encode(holder, method_id=method_id("ERC20InvalidReceiver(address)")))
    self.totalSupply += amount
    self.balanceOf[holder] += amount
    log Transfer(sender=empty(address), receiver=holder, value=amount)


@internal
@pure
def _permit(owner: address, spender: address):
    if owner == empty(address):
        raw_revert(abi_encode(owner, method_id=method_id("ERC20InvalidApprover(address)")))
    if spender == empty(address):
        raw_revert(abi_encode(spender, method_id=method_id("ERC20InvalidSpender(address)")))


@internal
def _move(sender: address, receiver: address, amount: uint256):
    if sender == empty(address):
        raw_revert(abi_encode(sender, method_id=method_id("ERC20InvalidSender(address)")))
    if receiver == empty(address):
        raw_revert(abi_encode(receiver, method_id=method_id("ERC20InvalidReceiver(address)")))
    held: uint256 = self.balanceOf[sender]
    if held < amount:
        raw_revert(
            abi_encode(
                sender,
                held,
                amount,
                method_id=method_id("ERC20InsufficientBalance(address,uint256,uint256)"),
            )
        )
    self.balanceOf[sender] = held - amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)
