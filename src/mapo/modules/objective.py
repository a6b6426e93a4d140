"""What one micro-batch contributes to the loss of its optimizer step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mapo.functional import divergence
from mapo.functional.stages import told
from mapo.losses.aggregation import Aggregation
from mapo.losses.base import PolicyLoss
from mapo.losses.sampler_correction import SamplerCorrection
from mapo.modules.experience import Experience
from mapo.modules.means import Means
from mapo.policies.model import PolicyModel

KLEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The policy loss, plus kl_coef times the divergence from the reference, summed over trained tokens.

    Attributes:
        loss: The surrogate per token.
        aggregation: Weights of the tokens and their normaliser.
        kl_coef: Weight of the divergence; the reference is not scored when it is 0.
        kl_estimator: How the divergence is estimated from the sampled tokens.
        log_entropy: Also compute the entropy of the policy, for the logs alone.
        sampler_correction: Weighs the surrogate by how much likelier the policy finds a token than its sampler did.
    """

    loss: PolicyLoss
    aggregation: Aggregation
    kl_coef: float
    kl_estimator: KLEstimator
    log_entropy: bool
    sampler_correction: SamplerCorrection | None = None

    @property
    def skips_silent_groups(self) -> bool:
        """Whether groups in which no advantage differs from 0 can be left out of forward and backward passes."""
        return self.kl_coef == 0 and not self.log_entropy and self.loss.zero_without_advantage

    def needed(self, rows: Experience, means: Means, spare: Experience | None = None) -> Experience:
        """Return the rows that have to be run for an exact gradient; what is known of the others goes into the means.

        Args:
            rows: One optimizer step's; none, where other ranks have all of its groups.
            means: Collects the share of skipped groups, and the loss of their tokens, 0.
            spare: A row without a weight, run where nothing has to be; one of these rows when None.

        Returns:
            At least one row, without a weight where there is nothing to run.
        """
        kept = rows.with_signal if self.skips_silent_groups else torch.ones(len(rows), dtype=torch.bool)
        indices = kept.nonzero()[:, 0].tolist()
        needed = spare if spare is not None and not indices else rows.select(indices)
        num_kept = needed.num_groups if kept.any() else 0
        means.add("skipped_group_share", torch.arange(rows.num_groups) >= num_kept)
        means.add("policy_loss", torch.zeros(int(rows.completion_mask[~kept].sum())))
        return needed

    def __call__(self, actor: PolicyModel, rows: Experience, *, temperature: float, means: Means) -> Float[Tensor, ""]:
        """Return the weighted sum of the rows' token losses, not yet divided by the normaliser.

        Args:
            actor: The policy, scored with gradient.
            rows: One micro-batch; its reference is scored here unless ``with_ref_logprobs`` has done so.
            temperature: That of the rollouts.
            means: Collects per-token statistics.
        """
        if rows.ref_logprobs is None:
            ((rows,),) = self.with_ref_logprobs(actor, [[rows]], temperature)
        scores = actor.score(rows.prompts, rows.token_ids, temperature=temperature, entropy=self.log_entropy)
        logprobs = scores.logprobs
        mask = rows.completion_mask.to(logprobs.device)
        advantages = rows.advantages.to(logprobs)
        old = logprobs.detach() if rows.old_logprobs is None else rows.old_logprobs.to(logprobs)
        sampled = pad_sequence(list(rows.sampling_logprobs), batch_first=True).to(old)
        token_loss, statistics = self.loss(logprobs, old, advantages, mask)
        means.add("policy_loss", token_loss, mask)
        # Where groups are skipped, what is not known of them is named after those that are not.
        over = "trained_groups/" if self.skips_silent_groups else ""
        statistics = {**statistics, "sampling_gap": (old - sampled).abs()}
        if self.sampler_correction is not None:
            weights, of_weights = self.sampler_correction(old, sampled, mask)
            token_loss, statistics = weights * token_loss, statistics | of_weights
            means.add_largest(over + "sampler_weight_max", weights, mask)
        means.add_tokens({over + name: values for name, values in statistics.items()}, mask)
        if cuts := [values for name, values in statistics.items() if name.startswith("clip_fraction")]:
            means.add_by_bin(f"{over}clip_fraction", torch.stack(cuts).sum(dim=0), mask, rows.success_bins)
        if scores.entropy is not None:
            means.add("entropy", scores.entropy, mask)
        if rows.ref_logprobs is not None:
            reference = rows.ref_logprobs.to(logprobs)
            divergence_estimate = getattr(divergence, self.kl_estimator)(logprobs, reference).masked_fill(~mask, 0.0)
            means.add("kl", divergence_estimate, mask)
            means.add_by_bin("kl", divergence_estimate, mask, rows.success_bins)
            token_loss = token_loss + self.kl_coef * divergence_estimate
        return (self.aggregation.token_weights(mask) * token_loss).sum()

    @torch.no_grad()
    def with_old_logprobs(self, actor: PolicyModel, rows: Experience, temperature: float) -> Experience:
        """Return the rows with the log-probs of the policy as it is now."""
        return rows.with_old_logprobs(actor.score(rows.prompts, rows.token_ids, temperature=temperature).logprobs)

    def with_ref_logprobs(
        self, actor: PolicyModel, steps: Sequence[Sequence[Experience]], temperature: float
    ) -> list[list[Experience]]:
        """Return the micro-batches of every step with the reference's log-probs, for which it is fetched once."""
        if self.kl_coef == 0:
            return [list(step) for step in steps]
        with actor.as_reference():
            told_steps = [told(step, "micro-batches scored by the reference") for step in steps]
            return [[self._with_ref_logprobs(actor, rows, temperature) for rows in step] for step in told_steps]

    def _with_ref_logprobs(self, actor: PolicyModel, rows: Experience, temperature: float) -> Experience:
        return rows.with_ref_logprobs(actor.score(rows.prompts, rows.token_ids, temperature=temperature).logprobs)
