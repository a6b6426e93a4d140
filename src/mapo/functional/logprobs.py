"""Log-probs of chosen tokens from hidden states, without ever holding the logits of all of them."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_TILE_LOGITS = 2**26  # 256 MiB in float32: enough work for a GPU at once, and three of them are alive at most


def rows_per_tile(vocabulary: int) -> int:
    """Return how many rows of logits are computed at once.

    Args:
        vocabulary: V, logits per row.

    Example:
        >>> rows_per_tile(152_064), rows_per_tile(4096)
        (441, 16384)
    """
    return max(1, _TILE_LOGITS // vocabulary)


def tiled_logprobs(
    hidden: Float[Tensor, "M H"],
    lm_head: Callable[[Tensor], Tensor],
    targets: Int[Tensor, " M"],
    *,
    temperature: float,
    banned: Int[Tensor, " K"] | None = None,
    entropy: bool = False,
    tile: int = 1024,
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"] | None]:
    """Return the log-prob of each target under the tempered law over the allowed tokens.

    ℓ = log_softmax(z / T)[target], with z the logits in float32 or better and z = -∞ at banned ids. Tiles of rows are
    computed one after the other and again in the backward pass, so the memory is that of one tile; a single tile is
    kept for the backward pass, since computing it again would save nothing.

    Args:
        hidden: Last hidden states at the positions that predict the targets.
        lm_head: Hidden states to logits, ``[tile, H] -> [tile, V]``.
        targets: Token ids in [0, V).
        temperature: T > 0, divides the logits. A greedy rollout is scored with 1.
        banned: Ids that can never be sampled.
        entropy: Also return the entropy of the same law.
        tile: Rows per tile; three float32 tensors of ``tile x V`` are alive at most, in the backward pass.

    Returns:
        Log-probs in nats with gradient where grad mode is on, and detached entropies in nats or None. No rows (M = 0)
        give empty tensors that are still part of the graph, so that every rank has a backward pass.

    Raises:
        ValueError: A target is banned, or temperature or tile is not positive.

    Example:
        >>> logprobs, _ = tiled_logprobs(torch.zeros(1, 2), torch.nn.Linear(2, 4, bias=False), torch.tensor([3]),
        ...                              temperature=1.0, banned=torch.tensor([0, 1]))
        >>> logprobs.exp()
        tensor([0.5000], grad_fn=<ExpBackward0>)
    """
    _check(targets, temperature=temperature, banned=banned, tile=tile)
    if len(targets) <= tile:
        return _score(hidden, lm_head, targets, temperature, banned, entropy)
    tiles = [
        # The head draws no random numbers, so the recomputation needs no copy of the generator's state.
        checkpoint(
            _score, rows, lm_head, ids, temperature, banned, entropy, use_reentrant=False, preserve_rng_state=False
        )
        for rows, ids in zip(hidden.split(tile), targets.split(tile), strict=True)
    ]
    logprobs = torch.cat([tile_logprobs for tile_logprobs, _ in tiles])
    return logprobs, torch.cat([tile_entropy for _, tile_entropy in tiles]) if entropy else None


def _score(
    hidden: Float[Tensor, "M H"],
    lm_head: Callable[[Tensor], Tensor],
    targets: Int[Tensor, " M"],
    temperature: float,
    banned: Int[Tensor, " K"] | None,
    entropy: bool,
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"] | None]:
    logits = lm_head(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    if banned is not None:
        logits = logits.index_fill_(-1, banned, float("-inf"))
    law = logits.log_softmax(dim=-1)
    del logits  # log_softmax keeps its result alone, and the entropy needs room for one more of this size
    logprobs = law.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return logprobs, _entropy(law.detach()) if entropy else None


def _entropy(law: Float[Tensor, "M V"]) -> Float[Tensor, " M"]:
    probs = law.exp()
    return torch.special.entr(probs, out=probs).sum(dim=-1)  # entr(0) = 0, where p · log p of a banned id would be NaN


def _check(targets: Int[Tensor, " M"], *, temperature: float, banned: Int[Tensor, " K"] | None, tile: int) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}; score a greedy rollout with temperature 1")
    if tile < 1:
        raise ValueError(f"tile must be >= 1 row, got {tile}")
    if banned is not None and bool((found := torch.isin(targets, banned)).any()):
        row = int(found.nonzero()[0])
        raise ValueError(
            f"token {int(targets[row])} (target {row}) is banned and has probability 0: a completion that is replayed "
            "must come from a sampler with the same banned ids"
        )
