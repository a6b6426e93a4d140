"""One decoding step: from logits to the tokens drawn and their log-probs."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.functional.noise import inverse_cdf
from mapo.types import Sampling


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
    if top_k == 0 and top_p == 1.0:
        return probs
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    if top_k:
        ordered[:, top_k:] = 0.0
    if top_p < 1.0:
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= top_p * ordered.sum(dim=-1, keepdim=True), 0.0)
    return torch.zeros_like(probs).scatter(-1, order, ordered)


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
