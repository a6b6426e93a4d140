"""MAPO as a LightningModule: one training step is one rollout phase, read top to bottom in ``training_step``."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from mapo.advantages.base import Advantage
from mapo.advantages.groups import has_signal
from mapo.advantages.mixed import MixedAdvantage
from mapo.functional.noise import stream_key
from mapo.functional.stages import told
from mapo.losses.aggregation import Aggregation, TokenMean
from mapo.losses.base import PolicyLoss
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.losses.sampler_correction import SamplerCorrection
from mapo.modules import startup
from mapo.modules.dynamic_sampling import TELLING, DynamicSampling, ran_dry
from mapo.modules.evaluation import Evaluation
from mapo.modules.evaluator import Evaluator
from mapo.modules.experience import Experience
from mapo.modules.groups import Groups
from mapo.modules.hyperparameters import store_hyperparameters
from mapo.modules.means import Means
from mapo.modules.memory_report import report_memory
from mapo.modules.numeric_faults import keep_fault
from mapo.modules.objective import KLEstimator, Objective
from mapo.modules.records import PhaseRecord
from mapo.modules.self_check import check_first_rollouts
from mapo.modules.set_evaluation import SetEvaluation
from mapo.modules.sigterm import StopRequest
from mapo.modules.stale_figures import forget_figures
from mapo.modules.statistics import (
    add_pass_statistics,
    add_phase_statistics,
    add_wave_statistics,
    with_effective_share,
)
from mapo.modules.whole_steps import WholeSteps
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.rewards.scoring import check_rewards, score_completions
from mapo.rollout.base import RolloutEngine
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Phase, Prompt, Rollouts, Sampling


class MAPOModule(WholeSteps, SetEvaluation):
    """Mixed Advantage Policy Optimization: rollouts, rewards, advantages and clipped updates of a policy.

    Source: MAPO (https://arxiv.org/abs/2509.18849). The defaults are the paper's, but for ``updates_per_phase``, which
    its recipe sets to 4.

    Args:
        policy: The model to train: a Hugging Face name, a folder, or ``builtin``.
        rewards: Components of the reward; exactly what counts as success and accuracy is theirs to say.
        rollout: Samples the completions.
        advantage: Turns groups of rewards into advantages; ``MixedAdvantage`` is MAPO.
        loss: The surrogate per token.
        aggregation: How token losses are averaged over an optimizer step.
        group_size: G, completions per prompt.
        sampling: How completions are drawn in training.
        evaluation: How completions are drawn in validation and test.
        dynamic_sampling: Samples more prompts where groups are all right or all wrong (DAPO); null: never.
        mask_truncated: Keep truncated completions out of the loss, though not out of their group's statistics (DAPO).
        updates_per_phase: Optimizer steps per rollout phase, each on its share of the prompts.
        max_tokens_per_micro_batch: Most tokens scored in one forward pass; changes memory and speed, never the result.
            A prompt counts once for all its completions in the pass; where it is not shared, it is rows x the longest.
        kl_coef: Weight of the divergence from the reference; 0 needs no reference.
        kl_estimator: k1, k2 or k3 (Schulman's estimators).
        gradient_clip_norm: Largest gradient norm of an optimizer step; null clips nothing.
        max_skipped_steps: Optimizer steps in a row that may be skipped since their gradient is not finite; their
            completions go to ``faults/`` in the run's folder, for ``mapo replay``.
        log_entropy: Log the policy's entropy over its completions: a pass over the logits, and no group is skipped.
        sampler_correction: Weighs tokens by the ratio of the policy's probability to the rollout engine's; null: never.
        optimizer: Builds the optimizer from the trainable parameters.
        lr_scheduler: Builds a learning-rate schedule that advances with every optimizer step.
        seed: Of the sampling noise; the one given to ``seed_everything`` when null, else 0.
    """

    def __init__(
        self,
        policy: Policy,
        rewards: list[Reward],
        rollout: RolloutEngine = TransformersEngine(),  # noqa: B008 - recipes are frozen
        advantage: Advantage = MixedAdvantage(),  # noqa: B008
        loss: PolicyLoss = ClippedPolicyLoss(),  # noqa: B008
        aggregation: Aggregation = TokenMean(),  # noqa: B008
        group_size: int = 12,
        sampling: Sampling = Sampling(top_p=0.99),  # noqa: B008
        evaluation: Evaluation = Evaluation(),  # noqa: B008
        dynamic_sampling: DynamicSampling | None = None,
        mask_truncated: bool = False,
        updates_per_phase: int = 1,
        max_tokens_per_micro_batch: int = 16384,
        kl_coef: float = 0.01,
        kl_estimator: KLEstimator = "k3",
        gradient_clip_norm: float | None = 1.0,
        max_skipped_steps: int = 3,
        log_entropy: bool = False,
        sampler_correction: SamplerCorrection | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        limits = max_tokens_per_micro_batch, kl_coef, gradient_clip_norm, sampling
        startup.check_arguments(group_size, updates_per_phase, *limits)
        startup.check_skips(max_skipped_steps)
        check_rewards(rewards)
        self.automatic_optimization = False
        self.absent_hyperparameters = store_hyperparameters(self, arguments)
        rewards = [reward.with_limit(sampling.max_completion_tokens) for reward in rewards]
        self.policy, self.rewards, self.rollout, self.advantage = policy, tuple(rewards), rollout, advantage
        self.dynamic_sampling, self.mask_truncated = dynamic_sampling, mask_truncated
        self.group_size, self.sampling, self.evaluation = group_size, sampling, evaluation
        self.updates_per_phase, self.max_tokens_per_micro_batch = updates_per_phase, max_tokens_per_micro_batch
        self.gradient_clip_norm, self.max_skipped_steps = gradient_clip_norm, max_skipped_steps
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.objective = Objective(
            loss=loss,
            aggregation=aggregation.with_limit(sampling.max_completion_tokens),
            kl_coef=kl_coef,
            kl_estimator=kl_estimator,
            log_entropy=log_entropy,
            sampler_correction=sampler_correction,
        )
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.evaluator, self.stop_request = Evaluator(evaluation, rewards), StopRequest()
        self.last_phase: PhaseRecord | None = None
        self.last_means: dict[str, float] = {}
        self.checks_left = 0

    # -- the way of one phase ------------------------------------------------------------------------------------------

    def training_step(self, prompts: Sequence[Prompt], batch_idx: int) -> None:
        """Sample groups for this rank's prompts, score them, and update the policy on the result."""
        self.begin_step()
        means = Means()
        groups = self.draw(prompts, means)
        self.rollout.rest()
        started, rollouts, scores = time.perf_counter(), groups.rollouts, groups.scores
        if self.checks_left:
            self.check_rollouts(rollouts)
        advantages = self.advantage(groups.used_scores, self.phase(groups))
        trained, steps = groups.trained(mask_truncated=self.mask_truncated), groups.steps(self.updates_per_phase)
        experience = Experience.from_groups(rollouts, scores, advantages, trained=trained, steps=steps)
        self.update(experience, rollouts.temperature, means)
        updated = time.perf_counter()
        self.last_phase = PhaseRecord(self.phase_index, rollouts, scores, advantages, trained, steps)
        add_phase_statistics(means, self.last_phase)
        self.log_means(means, **groups.seconds, update=updated - started)

    def draw(self, prompts: Sequence[Prompt], means: Means) -> Groups:
        """Return scored groups: one per prompt, or in waves until enough of them tell right from wrong."""
        if self.dynamic_sampling is None:
            return self.sample(prompts)
        groups, told = self.dynamic_sampling.draw(
            prompts, self.sample, rank=self.global_rank, over_ranks=self.columns_of_ranks
        )
        max_waves = self.dynamic_sampling.max_waves
        add_wave_statistics(means, told, wanted=groups.num_slots, max_waves=max_waves)
        if not (told == TELLING).any():  # the same on every rank
            rank_zero_warn(ran_dry(told, phase=self.phase_index, sampling=self.dynamic_sampling))
            self.trainer.should_stop = True
        return groups

    def sample(self, prompts: Sequence[Prompt]) -> Groups:
        """Sample a group for every prompt, and have the rewards score it."""
        self.stop_request.obey(self.trainer)
        started = time.perf_counter()
        with self.stop_request.obeyed(self.trainer):
            rollouts = self.generate(prompts, self.group_size, self.sampling, split="train", epoch=self.current_epoch)
        sampled = time.perf_counter()
        scores = score_completions(self.rewards, rollouts.completions)
        return Groups.of(rollouts, scores, rollout=sampled - started, reward=time.perf_counter() - sampled)

    def generate(self, prompts: Sequence[Prompt], num: int, sampling: Sampling, *, split: str, epoch: int) -> Rollouts:
        """Return ``num`` completions per prompt; the noise depends on the sample alone, not on rank or batch."""
        encoded = [self.actor.renderer.encode(prompt) for prompt in told(prompts, "prompts read")]
        streams = [stream_key(self.seed, split, epoch, prompt.sample_id, 0) for prompt in prompts]
        return self.rollout.generate(self.actor, encoded, group_size=num, sampling=sampling, streams=streams)

    def check_rollouts(self, rollouts: Rollouts) -> None:
        """Compare engine and policy on one group of these, or on another where the engine's log-probs are not known."""
        if not self.rollout.reports_logprobs(self.sampling):
            prompts = [encoded.prompt for encoded in rollouts.prompts]
            shown = next((prompt for prompt in prompts if prompt.images), prompts[0])
            whole_law = replace(self.sampling, top_p=1.0, top_k=0)
            rollouts = self.generate([shown], self.group_size, whole_law, split="check", epoch=0)
            self.rollout.rest()
        check_first_rollouts(self.actor, rollouts, max_tokens=self.max_tokens_per_micro_batch)
        self.checks_left -= 1

    def phase(self, groups: Groups) -> Phase:
        """Return what advantages may know of the whole batch, over all ranks; groups that are left out do not count."""
        scores, used = groups.used_scores, float((groups.slots >= 0).sum())
        active = float(has_signal(scores.rewards, scores.valid).sum())
        own = torch.tensor([used, active, *self.advantage.batch_sums(scores)], dtype=torch.float64)
        num_groups, num_active, *sums = self.sum_over_ranks(own).tolist()
        return Phase(self.phase_index, self.seed, groups.sample_ids, int(num_groups), int(num_active), tuple(sums))

    # -- the update ----------------------------------------------------------------------------------------------------

    def update(self, experience: Experience, temperature: float, means: Means) -> None:
        """Take ``updates_per_phase`` optimizer steps, each on its share of the prompts."""
        parts, spare = experience.mini_batches(self.updates_per_phase), experience.select([])
        normalisers = self.normalisers(parts)
        if not any(normalisers) and self.dynamic_sampling is None:  # which has said so itself
            rank_zero_warn(f"phase {self.phase_index}: no completion could be scored or trained; nothing changes")
        parts = [self.objective.needed(part, means, spare) for part in parts]
        cuts = self.micro_batches([part.lengths for part in parts])
        steps = [[part.select(rows) for rows in cut] for part, cut in zip(parts, cuts, strict=True)]
        steps[1:] = [[self.objective.with_old_logprobs(self.actor, rows, temperature) for rows in s] for s in steps[1:]]
        steps = self.objective.with_ref_logprobs(self.actor, steps, temperature)
        add_pass_statistics(means, steps, self.objective)
        self.stop_request.obey(self.trainer)  # the last chance before something is half updated
        for step, normaliser in zip(steps, normalisers, strict=True):
            self.optimize(step, normaliser, temperature, means)

    def optimize(self, step: Sequence[Experience], normaliser: float, temperature: float, means: Means) -> None:
        """Take one optimizer step over its micro-batches, normalised once over all of them and all ranks."""
        if normaliser == 0:  # the same on every rank, so none is left waiting
            step = []
        gradient_norm = self.take_step(
            [partial(self.loss_of, rows, temperature, self.trainer.world_size / normaliser, means) for rows in step]
        )
        if gradient_norm is not None:
            finite = torch.isfinite(gradient_norm)
            means.add("gradient_norm", gradient_norm, finite)
            means.add("skipped_step_share", ~finite)
        if self.skipped_in_a_row and step:
            self.check_skipped(keep_fault(self, step, temperature))

    def loss_of(self, rows: Experience, temperature: float, scale: float, means: Means) -> Float[Tensor, ""]:
        """Return a micro-batch's share of the loss; the mean over ranks of the shares' sums is the loss of the step."""
        return self.objective(self.actor, rows, temperature=temperature, means=means) * scale

    def normalisers(self, parts: Sequence[Experience]) -> list[float]:
        """Return the normaliser of every optimizer step, over all of its rows and all ranks."""
        local = [self.objective.aggregation.normaliser(rows.completion_mask) for rows in parts]
        return self.sum_over_ranks(torch.stack(local)).tolist()

    # -- Lightning's set-up --------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Check the run against its data and its trainer, before any weight is loaded."""
        startup.check_run(self, self.policy, stage, self.updates_per_phase)
        if stage == "fit":
            self.advantage.check_group_size(self.group_size)
            report_memory(self)

    def configure_model(self) -> None:
        """Load the weights, once; new ones, such as adapters, are drawn from the module's seed."""
        if not hasattr(self, "actor"):
            with isolate_rng():
                torch.manual_seed(self.seed)
                self.actor = self.policy.load_model(reference=self.objective.kl_coef > 0)
        self.distribute()

    def on_train_start(self) -> None:
        """Have the first rollouts of every fit checked, and let SIGTERM find all ranks at the same place."""
        super().on_train_start()
        self.checks_left = 2 if self.rollout.copies_weights else 1
        self.stop_request.listen(self.trainer)

    def teardown(self, stage: str) -> None:
        """Release the engine and the reward workers."""
        self.rollout.close()
        for reward in self.rewards:
            reward.close()

    @property
    def phase_index(self) -> int:
        """Rollout phases finished before the current one; Lightning counts and restores it."""
        return self.trainer.fit_loop.total_batch_idx

    def log_means(self, means: Means, **seconds: float) -> None:
        """Log the phase's means over all ranks, and where its time went."""
        values = with_effective_share(means.compute(self.sum_over_ranks, self.max_over_ranks))
        tokens = values.pop("completion_tokens") * self.trainer.world_size
        found = {f"train/{name}": value for name, value in values.items() if math.isfinite(value)}
        forget_figures(self.trainer, self.last_means.keys() - found.keys())
        self.last_means = found
        self.log_dict(self.last_means)
        self.log("train/tokens_per_s", tokens / sum(seconds.values()))
        self.log_dict({f"time/{name}_s": value for name, value in seconds.items()})
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
