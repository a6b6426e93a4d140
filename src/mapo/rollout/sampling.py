"""One decoding step: from logits to the tokens drawn and their log-probs."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.functional.noise import inverse_cdf
from mapo.types import Sampling

# A trained law has its nucleus among few tokens, and sorting a whole vocabulary of 152k takes 30 times as long as this.
_HEADS = (64, 512)


def token_law(logits: Float[Tensor, "N V"], *, banned: Int[Tensor, " K"], temperature: float) -> Float[Tensor, "N V"]:
    """Return the log-probs that sampling and scoring share.

    ℓ = log_softmax(z / T) in float32 or better, with z = -∞ at banned ids; a temperature of 0 (greedy) counts as 1.

    Example:
        >>> token_law(torch.zeros(1, 4), banned=torch.tensor([0, 1]), temperature=1.0).exp()
        tensor([[0.0000, 0.0000, 0.5000, 0.5000]])
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / (temperature or 1.0)
    return logits.index_fill_(-1, banned, float("-inf")).log_softmax(dim=-1)


def truncate(law: Float[Tensor, "N V"], *, top_p: float, top_k: int) -> Float[Tensor, "N V"]:
    """Return the weights to draw from: the law's probabilities, 0 outside the top-k and then the top-p tokens.

    Top-p keeps the smallest set of most probable tokens whose probability, renormalised after top-k, reaches ``top_p``.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (https://arxiv.org/abs/1904.09751).

    Args:
        law: Log-probs.
        top_p: In (0, 1]; 1 keeps all.
        top_k: 0 keeps all.

    Returns:
        Weights that need not sum to 1; the most probable token is always kept.

    Example:
        >>> truncate(torch.tensor([[0.5, 0.3, 0.2]]).log(), top_p=0.6, top_k=0)
        tensor([[0.5000, 0.3000, 0.0000]])
    """
    probs = law.exp()
    if 0 < top_k < probs.shape[-1]:
        probs = _most_probable(probs, _largest(probs, top_k + 1), torch.full_like(probs[:, :1], top_k).long())
    return probs if top_p == 1.0 else _nucleus(probs, top_p)


def draw(
    law: Float[Tensor, "N V"], noise: Float[Tensor, " N"], sampling: Sampling
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """Return one token per row and its log-prob under the untruncated law.

    Args:
        law: Log-probs over the vocabulary.
        noise: Uniform in [0, 1), ignored at temperature 0.
        sampling: Greedy at temperature 0, else the law truncated to top-k and top-p.
    """
    if sampling.temperature == 0:
        tokens = law.argmax(dim=-1)
    else:
        tokens = inverse_cdf(truncate(law, top_p=sampling.top_p, top_k=sampling.top_k), noise)
    return tokens, law.gather(-1, tokens[:, None])[:, 0]


def _nucleus(probs: Float[Tensor, "N V"], top_p: float) -> Float[Tensor, "N V"]:
    size, weights = probs.shape[-1], probs
    rows = torch.arange(len(probs), device=probs.device)
    for head in (*(count for count in _HEADS if count < size // 8), size):
        asked = probs if len(rows) == len(probs) else probs[rows]
        values = _largest(asked, head)
        sums = values.to(torch.float64).cumsum(dim=-1) - values
        inside = sums < top_p * asked.sum(dim=-1, keepdim=True, dtype=torch.float64)
        kept = _most_probable(asked, values, inside.sum(dim=-1, keepdim=True))
        weights = kept if asked is probs else weights.index_copy(0, rows, kept)
        rows = rows[inside[:, -1]]  # where the nucleus may go on behind the head
        if head == size or len(rows) == 0:
            break
    return weights


def _largest(probs: Float[Tensor, "N V"], count: int) -> Float[Tensor, "N K"]:
    """Return the K = ``count`` largest values of every row in descending order."""
    if count < probs.shape[-1]:
        return probs.topk(count, dim=-1).values
    if probs.device.type == "cpu":  # numpy sorts with vector instructions: 4 to 8 times as fast
        return torch.from_numpy(np.sort(probs.numpy(), axis=-1)).flip(-1)
    return probs.sort(dim=-1, descending=True).values


def _most_probable(
    probs: Float[Tensor, "N V"], values: Float[Tensor, "N K"], count: Int[Tensor, "N 1"]
) -> Float[Tensor, "N V"]:
    """Return the weights of the ``count`` most probable tokens; of equal ones those with lower ids come first.

    Args:
        probs: Weights of all tokens.
        values: The K largest of every row in descending order: more than ``count``, or all.
        count: How many to keep, at least 1.
    """
    last, following = values.gather(-1, count - 1), values.gather(-1, count.clamp(max=values.shape[-1] - 1))
    weights = probs * (probs >= last)
    tied = ((last == following) & (count < values.shape[-1]))[:, 0].nonzero()[:, 0]
    if len(tied):
        equal, above = probs[tied] == last[tied], probs[tied] > last[tied]
        room = count[tied] - above.sum(dim=-1, keepdim=True)
        weights[tied] = probs[tied] * (above | equal & (equal.cumsum(dim=-1) <= room))
    return weights
