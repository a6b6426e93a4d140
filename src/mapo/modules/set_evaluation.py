"""Validation, test and prediction on named sets."""

import math
from abc import abstractmethod
from collections.abc import Sequence

from lightning.pytorch import LightningModule

from mapo.modules import startup
from mapo.modules.evaluation import Evaluation
from mapo.modules.evaluator import Evaluator, is_category_size
from mapo.modules.records import EvaluationRecord
from mapo.modules.sigterm import StopRequest
from mapo.rewards.base import Reward
from mapo.rewards.scoring import score_completions
from mapo.types import Prompt, Rollouts, Sampling


class SetEvaluation(LightningModule):
    """Answers the prompts of every evaluation set, and logs ``val/<set>/<figure>`` and ``test/<set>/<figure>``.

    Attributes:
        evaluation: How completions are drawn.
        evaluator: Counts them.
        rewards: Say what is right.
        stop_request: Asked before every batch.
        last_evaluation: The latest batch of this rank, one record per mode; empty where the rank had no row of it.
    """

    evaluation: Evaluation
    evaluator: Evaluator
    rewards: tuple[Reward, ...]
    stop_request: StopRequest
    last_evaluation: tuple[EvaluationRecord, ...] = ()

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt], num: int, sampling: Sampling, *, split: str, epoch: int) -> Rollouts:
        """Return ``num`` completions per prompt."""

    def validation_step(self, prompts: Sequence[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Answer prompts of one set, greedily and by sampling, and count what is right."""
        self.evaluate("val", prompts, dataloader_idx)

    def test_step(self, prompts: Sequence[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        """As ``validation_step``."""
        self.evaluate("test", prompts, dataloader_idx)

    def predict_step(self, prompts: Sequence[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Answer prompts of one set; ``last_evaluation`` holds the batch, and ``CompletionsTable`` writes it."""
        self.evaluate("predict", prompts, dataloader_idx)

    def evaluate(self, stage: str, prompts: Sequence[Prompt], dataloader_idx: int) -> tuple[EvaluationRecord, ...]:
        """Sample, score and count one batch of one set, in every mode of ``evaluation``."""
        self.stop_request.obey(self.trainer)
        self.last_evaluation = ()
        if not prompts:  # the last batch had fewer rows than there are ranks
            return ()
        set_name = startup.evaluation_names(self.trainer)[dataloader_idx]
        records = []
        for mode, num, sampling in self.evaluation.modes(set_name):
            # epoch 0: the same questions meet the same noise at every validation, so differences are the policy's
            rollouts = self.generate(prompts, num, sampling, split=f"{stage}/{set_name}/{mode}", epoch=0)
            scores = score_completions(self.rewards, rollouts.completions)
            records.append(EvaluationRecord(stage, set_name, mode, rollouts, scores))
            self.evaluator.update(records[-1], self.device)
        self.last_evaluation = tuple(records)
        return self.last_evaluation

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self.evaluator.reset()

    def on_test_epoch_start(self) -> None:
        """Count from zero."""
        self.evaluator.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the figures of every set."""
        self.log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures of every set."""
        self.log_evaluation("test")

    def log_evaluation(self, stage: str) -> None:
        """Log the figures of every set; they are the same on every rank, so any rank may monitor them."""
        names = startup.evaluation_names(self.trainer)
        figures = self.evaluator.compute(stage, names, self.trainer, self.device)
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        for name, value in finite.items():
            # It is the same everywhere already; the maximum is exact and keeps Lightning from advising to reduce it.
            # Loggers are spared the sizes of categories, which callbacks report.
            self.log(name, value, logger=False if is_category_size(name) else None, sync_dist=True, reduce_fx="max")
