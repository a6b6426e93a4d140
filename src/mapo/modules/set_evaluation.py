"""Validation, test and prediction on named sets."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch

from mapo.data.base import PromptDataModule
from mapo.modules import startup
from mapo.modules.evaluation import Mode
from mapo.modules.evaluator import Evaluator, is_category_size
from mapo.modules.interruptible import Interruptible
from mapo.modules.records import EvaluationRecord
from mapo.modules.stored_answers import join_records, split_record
from mapo.policies.images import open_image
from mapo.rewards.scoring import score_completions
from mapo.types import Prompt, Rollouts, Sampling


class SetEvaluation(Interruptible):
    """Answers the prompts of every evaluation set, and logs ``val/<set>/<figure>`` and ``test/<set>/<figure>``.

    Attributes:
        evaluator: Counts the answers.
        last_evaluation: The latest batch of this rank, one record per mode; empty where the rank had no row of it.
        last_resumed: Rows of that batch that an interrupted run had answered in every mode.
    """

    evaluator: Evaluator
    last_evaluation: tuple[EvaluationRecord, ...] = ()
    last_resumed: int = 0

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
        self.last_evaluation, self.last_resumed = (), 0
        set_name = startup.evaluation_names(self.trainer)[dataloader_idx]
        prompts = self.readable(stage, set_name, prompts)
        records, resumed = [], set(range(len(prompts)))
        # The last batch may have fewer rows than there are ranks.
        modes = self.evaluation.modes(set_name) if prompts else ()
        with self.stop_request.obeyed(self.trainer):
            for mode, num, sampling in modes:
                record, stored = self.answer(stage, set_name, mode, num, sampling, prompts)
                self.evaluator.update(record, self.device)
                records.append(record)
                resumed &= stored
        self.last_evaluation, self.last_resumed = tuple(records), len(resumed)
        return self.last_evaluation

    def readable(self, stage: str, set_name: str, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        """Return the prompts whose pictures can be decoded; what is wrong with the others no header has told.

        Raises:
            ValueError: There are others, and ``on_bad_row`` of their benchmark is not "skip".
        """
        faults = picture_faults(prompts)
        if not faults:
            return prompts
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PromptDataModule) or data.owner(set_name).on_bad_row == "error":
            sample_id, fault = next(iter(faults.items()))
            raise ValueError(
                f"set {set_name!r}: {sample_id!r}: {fault}. Mend this, or pass on_bad_row='skip' to count it as wrong"
            )
        self.evaluator.reject(stage, set_name, faults, self.device)
        return [prompt for prompt in prompts if prompt.sample_id not in faults]

    def answer(
        self, stage: str, set_name: str, mode: Mode, num: int, sampling: Sampling, prompts: Sequence[Prompt]
    ) -> tuple[EvaluationRecord, set[int]]:
        """Return the answers to a batch in one mode, and the places of those that an earlier run had sampled."""
        spool, encode = self.resumption.spool, self.actor.renderer.encode
        rows = spool.find(stage, set_name, mode, prompts, encode)
        stored = set(rows)
        missing = [index for index in range(len(prompts)) if index not in stored]
        if missing:
            # epoch 0: the same questions meet the same noise at every validation, so differences are the policy's
            asked, split = [prompts[index] for index in missing], f"{stage}/{set_name}/{mode}"
            rollouts = self.generate(asked, num, sampling, split=split, epoch=0)
            scores = score_completions(self.rewards, rollouts.completions)
            record = EvaluationRecord(stage, set_name, mode, rollouts, scores)
            spool.add(record)
            if not stored:
                return record, stored
            rows |= dict(zip(missing, split_record(record), strict=True))
        return join_records([rows[index] for index in range(len(prompts))]), stored

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self.evaluator.reset()

    def on_test_epoch_start(self) -> None:
        """Count from zero."""
        self.evaluator.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the figures of every set."""
        super().on_validation_epoch_end()
        self.log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures of every set."""
        super().on_test_epoch_end()
        self.log_evaluation("test")

    def log_evaluation(self, stage: str) -> None:
        """Log the figures of every set; they are the same on every rank, so any rank may monitor them."""
        names = startup.evaluation_names(self.trainer)
        figures = self.evaluator.compute(stage, names, self.trainer, self.device)
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        # In double precision, so that 7 of 25 is 0.28 in results.json; MPS has none.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        for name, number in finite.items():
            value = torch.tensor(number, dtype=dtype, device=self.device)
            # It is the same everywhere already; the maximum is exact and keeps Lightning from advising to reduce it.
            # Loggers are spared the sizes of categories, which callbacks report.
            self.log(name, value, logger=False if is_category_size(name) else None, sync_dist=True, reduce_fx="max")


def picture_faults(prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return what is wrong with pictures that cannot be decoded, by sample id."""
    faults = {}
    for prompt in prompts:
        try:
            for image in prompt.images:
                open_image(image)
        except ValueError as error:
            faults[prompt.sample_id] = str(error)
    return faults
