"""Sampling noise that belongs to the token, not to the process: a hash instead of a generator."""

import json
from hashlib import blake2b

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15  # splitmix64's odd constants (2^64 / golden ratio, then its two multipliers)
_MULTIPLY_1 = 0xBF58476D1CE4E5B9
_MULTIPLY_2 = 0x94D049BB133111EB


def stream_key(seed: int, split: str, epoch: int, sample_id: str, draw: int) -> int:
    """Return the key of one prompt's noise, the same in every process and every run.

    The first 64 bits of blake2b over the JSON list of the arguments, which no two argument lists share.

    Args:
        seed: The run's seed.
        split: Which set the prompt comes from, so that training and validation never share noise.
        epoch: Pass over the data.
        sample_id: The row inside its set.
        draw: How often this prompt was drawn before in this epoch (refills, repeated validation samples).

    Returns:
        An integer in [-2⁶³, 2⁶³), so that an int64 tensor holds it.

    Example:
        >>> stream_key(0, "train", 0, "row-1", 0) == stream_key(0, "train", 0, "row-1", 0)
        True
        >>> stream_key(0, "train", 0, "row-1", 0) == stream_key(0, "train", 0, "row-1", 1)
        False
    """
    text = json.dumps([int(seed), split, int(epoch), sample_id, int(draw)])
    return int.from_bytes(blake2b(text.encode("ascii"), digest_size=8).digest(), "little", signed=True)


def token_noise(
    streams: Int[Tensor, " N"], completion: Int[Tensor, " N"], position: Int[Tensor, " N"]
) -> Float64[Tensor, " N"]:
    """Return one uniform number per token, a pure function of the three integers that name it.

    u = ⌊h / 2¹¹⌋ / 2⁵³ with h = mix(mix(mix(stream) + completion) + position), where mix is splitmix64's step.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (https://doi.org/10.1145/2660193.2660195).

    Args:
        streams: ``stream_key`` of the token's prompt.
        completion: Index of the completion inside its group, from 0.
        position: Index of the token inside its completion, from 0.

    Returns:
        Uniform in [0, 1), a multiple of 2⁻⁵³, bit for bit the same on CPU and CUDA and in any layout of a batch.

    Example:
        >>> token_noise(torch.tensor([7, 7]), torch.tensor([0, 0]), torch.tensor([0, 1]))
        tensor([0.6094, 0.1001], dtype=torch.float64)
    """
    key = _mix(streams.to(torch.int64))
    key = _mix(key + completion.to(torch.int64))
    key = _mix(key + position.to(torch.int64))
    return _logical_shift(key, 11).to(torch.float64) * 2.0**-53


def inverse_cdf(probs: Float[Tensor, "N V"], noise: Float[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return the first token at which the cumulative probability exceeds the noise.

    token = min {v : p_v > 0 and Σ_{w ≤ v} p_w > u · Σ_w p_w}, summed in float64 in the order of the vocabulary.

    Args:
        probs: Non-negative weights of the tokens; a row need not sum to 1.
        noise: u in [0, 1), one per row.

    Returns:
        Token ids. Never a token of probability 0: a u that rounding lifts to the end gives the last possible token.

    Raises:
        ValueError: A row has no positive finite sum (a NaN among the logits, or every token banned).

    Example:
        >>> inverse_cdf(torch.tensor([[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]), torch.tensor([0.49, 0.5]))
        tensor([0, 2])
    """
    # A parallel scan may round the sums of two neighbours differently, so a zero is excluded by itself and not by its
    # step of height 0.
    cumulative = torch.where(probs > 0, probs.to(torch.float64).cumsum(dim=-1), 0.0)
    total = cumulative.amax(dim=-1, keepdim=True)
    _check_totals(total)
    below_total = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(noise.to(torch.float64).unsqueeze(-1) * total, below_total)
    return (cumulative > threshold).to(torch.uint8).argmax(dim=-1)


def _check_totals(total: Float64[Tensor, "N 1"]) -> None:
    usable = (total > 0) & total.isfinite()
    if not bool(usable.all()):
        row = int((~usable).flatten().nonzero()[0])
        raise ValueError(
            f"probs[{row}] sums to {float(total[row])}: a row needs a positive, finite sum. The policy's logits hold a "
            "NaN or every token is banned; check the weights, the learning rate and the banned ids."
        )


def _mix(key: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    key = key + _signed(_STEP)
    key = (key ^ _logical_shift(key, 30)) * _signed(_MULTIPLY_1)
    key = (key ^ _logical_shift(key, 27)) * _signed(_MULTIPLY_2)
    return key ^ _logical_shift(key, 31)


def _logical_shift(key: Int64[Tensor, " N"], bits: int) -> Int64[Tensor, " N"]:
    # >> copies the sign bit of an int64; the mask clears those copies.
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant
