"""Weights told apart by sums of their bits."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PIECE = 1 << 16  # elements looked at in one go: they stay in a processor's cache
_PIECES_PER_LAUNCH = 64  # an accelerator has no use for so few; still, nothing of the size of a weight is allocated


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a digest that changes with any bit of any weight.

    For every tensor two sums over its elements, read as integers xᵢ, are taken modulo 2⁶⁴: Σ xᵢ and Σ (2i + 1) xᵢ.
    Integers add up to the same in any order, so the digest does not depend on the device.

    Args:
        weights: Tensors of any dtype and device, by name; their order does not matter.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> weights_fingerprint({"w": torch.zeros(2)}) == weights_fingerprint({"w": torch.tensor([0.0, -0.0])})
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(weights.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape), bit_sums(tensor))).encode())
    return digest.hexdigest()


def bit_sums(tensor: Tensor) -> tuple[int, int]:
    """Return Σ xᵢ and Σ (2i + 1) xᵢ modulo 2⁶⁴ over a tensor's elements in row order, read as integers.

    Example:
        >>> bit_sums(torch.tensor([3, 5]))
        (8, 18)
    """
    bits = tensor.detach().flatten().view(_INTEGERS[tensor.element_size()])
    step = _PIECE if bits.device.type == "cpu" else _PIECE * _PIECES_PER_LAUNCH
    odd = 2 * torch.arange(min(step, len(bits)), device=bits.device) + 1
    sums = torch.zeros(2, dtype=torch.int64, device=bits.device)
    for start in range(0, len(bits), step):
        piece = bits[start : start + step].to(torch.int64)
        plain = piece.sum()
        sums += torch.stack([plain, (odd[: len(piece)] * piece).sum() + 2 * start * plain])
    first, second = sums.tolist()
    return first, second
