"""Checks on the first group that was really sampled, before it trains anything."""

import torch

from mapo.policies.model import PolicyModel
from mapo.types import EncodedPrompt, Rollouts

# Mean absolute gap in nats between engine and policy; bfloat16 keeps 8 bits of every logit.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


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


def _dtype(actor: PolicyModel) -> torch.dtype:
    autocast = torch.is_autocast_enabled(actor.device.type)
    return torch.get_autocast_dtype(actor.device.type) if autocast else next(actor.model.parameters()).dtype


@torch.no_grad()
def check_first_rollouts(actor: PolicyModel, rollouts: Rollouts) -> float:
    """Compare the engine's log-probs of one group with the policy's, images included, and return the mean gap in nats.

    Args:
        actor: The policy that sampled.
        rollouts: Of the first phase; the first group with an image is taken, else the first.

    Raises:
        ValueError: The two differ, so that importance ratios would be wrong from the first step.
    """
    row = next((i for i, prompt in enumerate(rollouts.prompts) if prompt.prompt.images), 0)
    check_logits(actor, rollouts.prompts[row])
    group = rollouts.completions[row]
    scores = actor.score(
        [rollouts.prompts[row]] * len(group), [c.token_ids for c in group], temperature=rollouts.temperature
    )
    gaps = torch.cat(
        [
            (scores.logprobs[index, : len(sampled)].cpu() - sampled.cpu()).abs()
            for index, sampled in enumerate(rollouts.sampling_logprobs[row])
        ]
    )
    gap = float(gaps.mean()) if len(gaps) else 0.0
    tolerance = _TOLERANCE[_dtype(actor)]
    if not gap <= tolerance:
        raise ValueError(
            f"the rollout engine and the policy disagree on sample {rollouts.prompts[row].prompt.sample_id!r}: their "
            f"log-probs differ by {gap:.3g} nats per token on average (allowed: {tolerance:g} in {_dtype(actor)}). "
            "Check that both use the same weights, temperature and chat template."
        )
    return gap
