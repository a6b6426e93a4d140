"""A benchmark whose splits are rows of one source: what all published ones have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.rows import LazyPrompts, RowError
from mapo.data.source import load_rows
from mapo.types import Prompt


class Benchmark(PromptDataModule):
    """Rows of named splits, each made into a prompt by ``to_prompt``; an evaluated split is a set ``<prefix>_<split>``.

    A benchmark names its source in the class attributes and implements ``to_prompt``; one with an official layout that
    ``datasets`` does not read overrides ``rows``, too.

    Attributes:
        set_prefix: The benchmark in the names of its evaluation sets; an instance may have its own.
        hub_id: Where it is on the Hugging Face Hub.
        hub_config: Its configuration there, where it has several.
        columns: Columns that every source must have.
        default_eval_splits: Evaluated when no others are asked for.
    """

    set_prefix: str
    hub_id: ClassVar[str]
    hub_config: ClassVar[str | None] = None
    columns: ClassVar[tuple[str, ...]]
    default_eval_splits: ClassVar[tuple[str, ...]] = ("test",)

    def __init__(
        self,
        path: str | None = None,
        *,
        train_split: str = "train",
        eval_splits: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Name the source.

        Args:
            path: Hub id, ``save_to_disk`` folder, folder of parquet or jsonl files named after their splits, or folder
                in the benchmark's official layout, if it has one; its Hub id when None.
            train_split: Split to train on.
            eval_splits: Splits to evaluate, each a set of its own; the benchmark's usual ones when None.
            **kwargs: Those of ``PromptDataModule``.
        """
        super().__init__(**kwargs)
        self.path = self.hub_id if path is None else path
        self.train_split = train_split
        self.eval_splits = self.default_eval_splits if eval_splits is None else tuple(eval_splits)

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return self.read(self.train_split)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        return {self.set_name(split): self.read(split) for split in self.eval_splits}

    def set_name(self, split: str) -> str:
        """Return what the set of a split is called."""
        return f"{self.set_prefix}_{split}"

    def read(self, split: str) -> Sequence[Prompt]:
        """Return the prompts of a split, each made when it is asked for.

        Raises:
            ValueError: There is no such source, split or column; the set is named.
        """
        try:
            rows = self.rows(split)
        except ValueError as error:
            raise ValueError(f"set {self.set_name(split)!r}: {error}") from error
        return LazyPrompts(rows, lambda index, row: self._checked_prompt(split, index, row))

    def _checked_prompt(self, split: str, index: int, row: Mapping[str, Any]) -> Prompt:
        sample_id = f"{split}-{index}"
        if not isinstance(row, Mapping):
            raise RowError(sample_id, f"it is a {type(row).__name__}, not an object of columns")
        try:
            sample_id = self.sample_id(split, index, row)
            return self.to_prompt(sample_id, row)
        except RowError:
            raise
        except ValueError as error:  # such as a list where a text belongs
            raise RowError(sample_id, str(error)) from error

    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a split, pictures undecoded.

        Raises:
            ValueError: There is no such source, split or column.
        """
        return load_rows(self.path, split, columns=self.columns, config=self.hub_config)

    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        """Return what identifies a row within its set, by default its place in the split."""
        return f"{split}-{index}"

    @abstractmethod
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        """Return a row as a prompt, best made with ``self.prompt``.

        Raises:
            RowError: The row cannot be used; the reason says what would mend it. A ``ValueError`` becomes one.
        """


class EvaluationOnlyBenchmark(Benchmark):
    """A benchmark that is all test set, by its licence or by custom: training must be asked for by name.

    Attributes:
        terms: Why nobody should train on it, in a clause that can follow a colon.
    """

    terms: ClassVar[str]

    def __init__(
        self,
        path: str | None = None,
        *,
        train_on_test_set: bool = False,
        train_split: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Name the source.

        Args:
            path: Hub id, ``save_to_disk`` folder, folder of parquet or jsonl files named after their splits, or folder
                in the benchmark's official layout; its Hub id when None.
            train_on_test_set: Accept that training on these rows is against the benchmark's terms, and do it.
            train_split: Split to train on then; the first one that is evaluated by default when None.
            **kwargs: Those of ``Benchmark``.
        """
        super().__init__(path, train_split=train_split or self.default_eval_splits[0], **kwargs)
        self.train_on_test_set = train_on_test_set

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        if not self.train_on_test_set:
            raise ValueError(
                f"{type(self).__name__} is for evaluation only: {self.terms}. Train on another benchmark and name this "
                "one in out_of_domain, or pass train_on_test_set=true to accept that you train on a test set"
            )
        return super().train_prompts()
