"""The contract of a benchmark: named sets of raw prompts, loaders for every stage."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from mapo.data.loader import EvaluationLoader, PhaseLoader
from mapo.data.prompting import THINK_AND_BOX, build_messages
from mapo.data.rows import RowError, admit, listed, select
from mapo.types import Prompt

_MOST_NAMED = 20  # rows in one warning; results.json has all that count as wrong


class PromptDataModule(LightningDataModule, ABC):
    """A benchmark whose rows become raw prompts; a new one implements ``train_prompts`` and ``eval_prompts``.

    Both return sequences of ``Prompt``, best made with ``self.prompt``; ``mapo.data.rows.LazyPrompts`` reads rows when
    they are needed, and ``mapo.data.benchmark.Benchmark`` reads the usual sources. ``setup`` puts the sets into
    ``train_set`` and ``eval_sets``; the loader that Lightning numbers ``dataloader_idx`` is that of
    ``eval_names[dataloader_idx]``.

    Attributes:
        train_set: Usable rows to train on, over-long ones included until ``drop_training_rows``.
        eval_sets: Usable rows of every evaluation set by name: this benchmark's first, then those out of domain.
        bad_rows: Under ``on_bad_row="skip"``, by name of the evaluation set: what is wrong with each row that could
            not be used, by sample id. They count as wrong: figures divide by
            ``len(eval_sets[name]) + len(bad_rows[name])``.
        waves_per_phase: Batches of ``batch_size`` prompts that a training step is given; more than 1 under dynamic
            sampling, which may need them.
    """

    def __init__(
        self,
        *,
        batch_size: int = 8,
        eval_batch_size: int = 32,
        instruction: str = THINK_AND_BOX,
        system: str | None = None,
        seed: int | None = None,
        on_bad_row: Literal["error", "skip"] = "error",
        max_train_samples: int | None = None,
        max_eval_samples: int | None = None,
        out_of_domain: "Sequence[PromptDataModule]" = (),
        on_changed_rows: Literal["error", "continue"] = "error",
    ) -> None:
        """Keep the settings; nothing is read before ``setup``.

        Args:
            batch_size: Prompts of one rollout phase over all ranks.
            eval_batch_size: Prompts of one evaluation step over all ranks.
            instruction: Appended to every question after an empty line; where it holds ``{question}``, it is the whole
                text, and the question stands there.
            system: Text of a system message; none is sent when None.
            seed: Of the order of training rows; the one of ``seed_everything`` when None, 0 without it.
            on_bad_row: What a row without an answer, question or readable picture does: stop with an error, or be
                left out of training and counted as wrong in evaluation.
            max_train_samples: Use only the first rows of the training set.
            max_eval_samples: Use only the first rows of each evaluation set.
            out_of_domain: Further benchmarks to evaluate on, with their own settings but this one's
                ``eval_batch_size``; their training sets are not read.
            on_changed_rows: What training rows that have changed since a checkpoint was written (their number, ids,
                texts, answers, or the names of their pictures) do when it is resumed: stop with an error, or continue.

        Raises:
            ValueError: A size is below 1, or ``on_bad_row`` is neither choice.
        """
        super().__init__()
        sizes: dict[str, int | None] = {"batch_size": batch_size, "eval_batch_size": eval_batch_size}
        sizes |= {"max_train_samples": max_train_samples, "max_eval_samples": max_eval_samples}
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ValueError(f"{name} must be >= 1, got {size}")
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row must be 'error' or 'skip', got {on_bad_row!r}")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.instruction = instruction
        self.system = system
        self.seed = seed
        self.on_bad_row = on_bad_row
        if on_changed_rows not in ("error", "continue"):
            raise ValueError(f"on_changed_rows must be 'error' or 'continue', got {on_changed_rows!r}")
        self.on_changed_rows = on_changed_rows
        self.max_train_samples = max_train_samples
        self.max_eval_samples = max_eval_samples
        self.out_of_domain = tuple(out_of_domain)
        self.train_set: Sequence[Prompt] = ()
        self.eval_sets: dict[str, Sequence[Prompt]] = {}
        self.bad_rows: dict[str, dict[str, str]] = {}
        self.waves_per_phase = 1
        self._owners: dict[str, PromptDataModule] = {}  # of the sets out of domain

    @abstractmethod
    def train_prompts(self) -> Sequence[Prompt]:
        """Return the rows to train on, in an order that never changes."""

    @abstractmethod
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        """Return the evaluation sets by name, the in-domain one first, in an order that never changes."""

    @property
    def eval_names(self) -> list[str]:
        """Names of the evaluation sets in the order of their loaders."""
        return list(self.eval_sets)

    @property
    def out_of_domain_names(self) -> list[str]:
        """Names of the evaluation sets that are not what is trained on; by default those of other modules."""
        return list(self._owners)

    def owner(self, name: str) -> "PromptDataModule":
        """Return the module that an evaluation set comes from: this one, or one of ``out_of_domain``."""
        return self._owners.get(name, self)

    def figures(self, name: str, accuracies: Mapping[str, float]) -> Mapping[str, float]:
        """Return this benchmark's own figures of one of its evaluation sets; none by default.

        Args:
            name: The set.
            accuracies: Mean accuracy of every sample over its completions, by sample id, rows that could not be used
                included as 0; the same on every rank.
        """
        return {}

    def prompt(
        self, sample_id: str, question: str, answer: str, *, images: Sequence[Any] = (), **metadata: Any
    ) -> Prompt:
        """Return one row as a prompt, with this benchmark's instruction and system message.

        Args:
            sample_id: Unique within the set, the same in every run.
            question: The text, with its image markers.
            answer: The right answer.
            images: Pictures in the order in which the markers count them.
            **metadata: Further columns. Some are understood elsewhere: ``choices``, the texts behind the letters A, B,
                ...; ``graded_by``, which of them a right answer names: "letter", "text" or "either" (the default);
                ``precision``, decimals to which a number is compared; ``categories``, a mapping of names such as
                "subject" to this row's value or values, by which accuracies are broken down; ``aliases``, other
                spellings of choices by which an answer may name them.

        Raises:
            RowError: The question is empty or its image markers do not fit its pictures.
        """
        try:
            messages, images = build_messages(question, images, instruction=self.instruction, system=self.system)
        except ValueError as error:
            raise RowError(sample_id, str(error)) from error
        return Prompt(sample_id, messages, tuple(images), answer, metadata)

    @override
    def setup(self, stage: str | None = None) -> None:
        if stage in ("fit", None) and not self.train_set:
            rows = self.train_prompts()
            self.train_set, bad = admit("train", rows[: self.max_train_samples], self.on_bad_row)
            _report("train", bad, "left out of training")
        if not self.eval_sets:
            for name, rows in self.eval_prompts().items():
                self.eval_sets[name], bad = admit(name, rows[: self.max_eval_samples], self.on_bad_row)
                _report(name, bad, "counted as wrong")
                self.bad_rows[name] = bad
            self._add_out_of_domain()

    def _add_out_of_domain(self) -> None:
        for other in self.out_of_domain:
            other.setup("validate")
            for name, rows in other.eval_sets.items():
                if name in self.eval_sets:
                    raise ValueError(f"two evaluation sets are called {name!r}; out_of_domain must bring other names")
                self.eval_sets[name], self.bad_rows[name] = rows, other.bad_rows[name]
                self._owners[name] = other.owner(name)

    def drop_training_rows(self, reasons: Mapping[str, str]) -> None:
        """Leave rows out of training, before the loader is made; one warning counts and names them.

        Args:
            reasons: What is wrong, and what would mend it, by sample id.

        Raises:
            ValueError: No row would be left.
        """
        if not reasons:
            return
        kept = [i for i, prompt in enumerate(self.train_set) if prompt.sample_id not in reasons]
        if not kept:
            raise ValueError(f"all {len(self.train_set)} training rows are dropped: {listed(reasons)}")
        self.train_set = select(self.train_set, kept)
        _report("train", reasons, "left out of training")

    def reject_training_rows(self, reasons: Mapping[str, str]) -> None:
        """Refuse training rows that turn out unusable later; under ``on_bad_row="skip"`` they are dropped.

        Args:
            reasons: What is wrong, and what would mend it, by sample id.

        Raises:
            ValueError: There is such a row and ``on_bad_row`` is "error", or no row would be left.
        """
        if reasons and self.on_bad_row == "error":
            raise ValueError(
                f"set 'train': {len(reasons)} rows cannot be used. {listed(reasons)}. "
                "Mend this, or pass on_bad_row='skip' to leave them out of training"
            )
        self.drop_training_rows(reasons)

    def reject_eval_rows(self, name: str, reasons: Mapping[str, str]) -> None:
        """Refuse rows of an evaluation set that turn out unusable later, such as prompts that are too long.

        Args:
            name: The evaluation set.
            reasons: What is wrong, and what would mend it, by sample id.

        Raises:
            ValueError: There is such a row and ``on_bad_row`` of the set's own benchmark is "error", or there is no
                other row.
        """
        if reasons and self.owner(name).on_bad_row == "error":
            raise ValueError(
                f"set {name!r}: {len(reasons)} rows cannot be evaluated. {listed(reasons)}. "
                "Mend this, or pass on_bad_row='skip' to count them as wrong"
            )
        rows = self.eval_sets[name]
        kept = [i for i, row in enumerate(rows) if row.sample_id not in reasons]
        if not kept:
            raise ValueError(f"set {name!r}: none of its {len(rows)} rows can be evaluated. {listed(reasons)}")
        self.eval_sets[name] = select(rows, kept)
        self.bad_rows[name] |= reasons
        _report(name, reasons, "counted as wrong")

    @override
    def train_dataloader(self) -> PhaseLoader:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        # Lightning cannot turn off shuffling here itself: overfitting means the same batches in every epoch.
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        drawn = self.waves_per_phase * self.batch_size
        if self.waves_per_phase > 1 and len(self.train_set) < drawn:
            raise ValueError(
                f"{len(self.train_set)} training rows do not fill {self.waves_per_phase} waves of batch_size="
                f"{self.batch_size} prompts, which dynamic sampling may need in a phase; lower one of them, "
                "1 + model.dynamic_sampling.max_refills and data.batch_size, or add rows"
            )
        return PhaseLoader(
            self.train_set,
            batch_size=drawn,
            seed=seed,
            shuffle=not overfit,
            on_changed_rows=self.on_changed_rows,
            **self._data_parallel(),
        )

    @override
    def val_dataloader(self) -> list[EvaluationLoader]:
        ranks = self._data_parallel()
        return [EvaluationLoader(rows, batch_size=self.eval_batch_size, **ranks) for rows in self.eval_sets.values()]

    @override
    def test_dataloader(self) -> list[EvaluationLoader]:
        return self.val_dataloader()

    @override
    def predict_dataloader(self) -> list[EvaluationLoader]:
        return self.val_dataloader()

    @override
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the raw rows as they are: Lightning would look for tensors in every byte of their pictures."""
        return batch

    def _data_parallel(self) -> dict[str, int]:
        # The strategy's own numbers: under tensor parallelism there are fewer data-parallel ranks than processes.
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return {"rank": kwargs["rank"], "world_size": kwargs["num_replicas"]} if kwargs else {}


def _report(name: str, bad: Mapping[str, str], consequence: str) -> None:
    if bad:
        rank_zero_warn(f"set {name!r}: {len(bad)} rows are {consequence}. {listed(bad, _MOST_NAMED)}")
