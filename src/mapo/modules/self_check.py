"""Checks on the first group that was really sampled, before it trains anything."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from mapo.functional.precision import compute_dtype
from mapo.policies.model import PolicyModel
from mapo.policies.sharding import is_sharded
from mapo.types import EncodedPrompt, Rollouts

# Mean absolute gap in nats between engine and policy; bfloat16 keeps 8 bits of every logit.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


class _SharingTolerance(NamedTuple):
    """Largest gap in nats between a shared prompt and a copy in every row.

    Attributes:
        mean: Over tokens.
        single: Of one token, so that a wrong first or last one is not lost among many right ones.
    """

    mean: float
    single: float


# Seen on tiny models: 1e-6 in float32, 0.007 on average in bfloat16, where improbable tokens are off by far more.
_SHARING = {
    torch.float64: _SharingTolerance(1e-4, 1e-3),
    torch.float32: _SharingTolerance(1e-4, 1e-2),
    torch.bfloat16: _SharingTolerance(0.05, 2.0),
    torch.float16: _SharingTolerance(0.01, 0.5),
}


class _Group(NamedTuple):
    sample_id: str
    prompts: list[EncodedPrompt]
    token_ids: list[Tensor]
    sampled: list[Tensor]
    temperature: float


def check_first_rollouts(actor: PolicyModel, rollouts: Rollouts, *, max_tokens: int = 16384) -> float:
    """Compare the ways to log-probs on one group, images included, and return the engine's mean gap in nats.

    Args:
        actor: The policy that sampled.
        rollouts: Of the first phase; the first group with an image is taken, else the first.
        max_tokens: Of the group, so many completions are taken as fit with a prompt of their own; two at least.

    Raises:
        ValueError: The logits are not those of the model's own forward; the engine or the shared prompt gives other
            log-probs; or the gradient is not finite.
    """
    row = next((i for i, prompt in enumerate(rollouts.prompts) if prompt.prompt.images), 0)
    check_logits(actor, rollouts.prompts[row])
    group = _first_completions(rollouts, row, max_tokens)
    with torch.no_grad():
        logprobs = _logprobs(actor, group)
    gap = check_engine(actor, group, logprobs)
    if actor.shares_prefix:
        check_shared_prefix(actor, group, logprobs)
    check_gradient(actor, group)
    return gap


def check_logits(actor: PolicyModel, prompt: EncodedPrompt) -> None:
    """Compare the logits that rollouts and scoring share with those of the model's own forward.

    Raises:
        ValueError: They differ: this architecture does something to its logits that is not known here.
    """
    gap, tolerance = actor.logits_gap(prompt), 10 * _TOLERANCE[_dtype(actor)]
    if not gap <= tolerance:
        raise ValueError(
            f"the logits of {type(actor.model).__name__} differ by {gap:.3g} from those of its own forward (allowed: "
            f"{tolerance:g}): this architecture scales its logits in a way that is not supported; use another model"
        )


def check_engine(actor: PolicyModel, group: _Group, logprobs: Sequence[Float[Tensor, " T"]]) -> float:
    """Return the mean gap between the log-probs of engine and policy.

    Raises:
        ValueError: It is too large, so that importance ratios would be wrong from the first step.
    """
    gaps = _gaps(logprobs, group.sampled)
    gap = float(gaps.mean()) if len(gaps) else 0.0
    tolerance = _TOLERANCE[_dtype(actor)]
    if not gap <= tolerance:
        raise ValueError(
            f"the rollout engine and the policy disagree on sample {group.sample_id!r}: their "
            f"log-probs differ by {gap:.3g} nats per token on average (allowed: {tolerance:g} in {_dtype(actor)}). "
            "Check that both use the same weights, precision, temperature and chat template, and read pictures at the "
            "same size."
        )
    return gap


@torch.no_grad()
def check_shared_prefix(actor: PolicyModel, group: _Group, shared: Sequence[Float[Tensor, " T"]]) -> None:
    """Compare log-probs from a prompt that is run once with those from a copy of it in every row.

    Raises:
        ValueError: They differ by more than rounding.
    """
    actor.shares_prefix = False
    try:
        plain = _logprobs(actor, group)
    finally:
        actor.shares_prefix = True
    gaps, allowed = _gaps(shared, plain), _SHARING[_dtype(actor)]
    mean, largest = (float(gaps.mean()), float(gaps.max())) if len(gaps) else (0.0, 0.0)
    if not (mean <= allowed.mean and largest <= allowed.single):
        raise ValueError(
            f"log-probs of sample {group.sample_id!r} differ between its prompt run once for {len(group.prompts)} "
            f"completions and a copy of it in every row: by {mean:.3g} nats per token on average and {largest:.3g} at "
            f"most (allowed: {allowed.mean:g} and {allowed.single:g} in {_dtype(actor)}). Train with "
            "model.policy.share_prefix=false, which is slower, and report this model"
        )


def check_gradient(actor: PolicyModel, group: _Group) -> None:
    """Run one backward pass, and leave no gradient behind.

    Raises:
        ValueError: A gradient is not finite.
    """
    named = [(name, weight) for name, weight in actor.model.named_parameters() if weight.requires_grad]
    torch.clear_autocast_cache()  # weights cast under no_grad would be cut off from their gradient
    gradients = _gradients(actor, torch.cat(_logprobs(actor, group)).sum(), [weight for _, weight in named])
    found = [
        name for (name, _), g in zip(named, gradients, strict=True) if g is not None and not torch.isfinite(g).all()
    ]
    if found:
        raise ValueError(
            f"the gradient of the log-probs of sample {group.sample_id!r} is not finite in {len(found)} of "
            f"{len(named)} weights, the first of them {found[0]}: look for inf or NaN in the weights, or train with "
            "trainer.precision=32-true"
        )


def _gradients(actor: PolicyModel, total: Float[Tensor, ""], weights: list[Tensor]) -> list[Tensor | None]:
    if not is_sharded(actor):
        # Not .backward(), of which DistributedDataParallel would want to know.
        return list(torch.autograd.grad(total, weights, allow_unused=True))
    total.backward()
    gradients = [w.grad.to_local() if isinstance(w.grad, DTensor) else w.grad for w in weights]
    for weight in weights:
        weight.grad = None
    return gradients


def _first_completions(rollouts: Rollouts, row: int, max_tokens: int) -> _Group:
    prompt, completions = rollouts.prompts[row], rollouts.completions[row]
    longest = len(prompt.input_ids) + max(len(completion.token_ids) for completion in completions)
    num = min(len(completions), max(2, max_tokens // longest))
    return _Group(
        prompt.prompt.sample_id,
        [prompt] * num,
        [completion.token_ids for completion in completions[:num]],
        list(rollouts.sampling_logprobs[row][:num]),
        rollouts.temperature,
    )


def _logprobs(actor: PolicyModel, group: _Group) -> list[Float[Tensor, " T"]]:
    padded = actor.score(group.prompts, group.token_ids, temperature=group.temperature).logprobs
    return [row[: len(ids)] for row, ids in zip(padded, group.token_ids, strict=True)]


def _gaps(here: Sequence[Float[Tensor, " T"]], there: Sequence[Float[Tensor, " T"]]) -> Float[Tensor, " M"]:
    return torch.cat([(a.cpu() - b.cpu()).abs() for a, b in zip(here, there, strict=True)])


def _dtype(actor: PolicyModel) -> torch.dtype:
    return compute_dtype(next(actor.model.parameters()))
