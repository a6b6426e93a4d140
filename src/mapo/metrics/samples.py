"""One record per evaluated sample, gathered from all ranks: what every figure of a set is computed from."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import distributed
from torchmetrics import Metric
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Sample:
    """What the completions of one prompt came to; a prompt that could not be asked has none.

    Attributes:
        sample_id: Identifies the prompt within its set.
        accuracy: Of every completion, in [0, 1]; 0 where the verdict failed.
        judged: False where the verdict failed.
        truncated: True where the length limit ended the completion.
        success: True where every required reward component is fully earned.
        lengths: In tokens.
        answers: What the completions answer; None where a completion gives no answer.
        components: Values of further reward components by name; NaN where one could not be scored.
        categories: What the prompt belongs to, such as ``{"subject": ("algebra",)}``.
        fault: Why the prompt could not be asked.
    """

    sample_id: str
    accuracy: tuple[float, ...] = ()
    judged: tuple[bool, ...] = ()
    truncated: tuple[bool, ...] = ()
    success: tuple[bool, ...] = ()
    lengths: tuple[int, ...] = ()
    answers: tuple[str | None, ...] = ()
    components: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fault: str | None = None

    @property
    def mean_accuracy(self) -> float:
        """Mean over the completions; 0 where the prompt could not be asked."""
        return math.fsum(self.accuracy) / len(self.accuracy) if self.accuracy else 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Sample":
        return self  # it never changes, and torchmetrics copies all of them before every exchange


class SampleTable:
    """The samples of a set in the order of their ids; no collection, so that torchmetrics hands it on untouched."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        """Put the samples in order.

        Raises:
            ValueError: A sample is there twice.
        """
        twice = [sample_id for sample_id, count in Counter(s.sample_id for s in samples).items() if count > 1]
        if twice:
            raise ValueError(
                f"{len(twice)} samples were evaluated twice, {min(twice)!r} among them: every row must reach one rank "
                "once, as the loaders of PromptDataModule have it, and sample ids must be unique within a set"
            )
        self.samples = tuple(sorted(samples, key=lambda sample: sample.sample_id))


class SampleMetric(Metric):
    """Collects the samples of one set; the table holds those of all ranks, however unevenly they are spread.

    A sample is a prompt with all its completions, and never split over ranks. The records are exchanged as objects, as
    torchmetrics' own ``MeanAveragePrecision`` does with its masks, so every rank computes its figures from the same
    list as a single process would.
    """

    full_state_update = False

    samples: list[Sample]

    def __init__(self) -> None:
        """Start without samples."""
        super().__init__()
        self.add_state("samples", [], dist_reduce_fx=None)

    @override
    def update(self, samples: Sequence[Sample]) -> None:
        """Add samples of this rank."""
        self.samples.extend(samples)

    @override
    def compute(self) -> SampleTable:
        """Return the samples of all ranks.

        Raises:
            ValueError: A sample is there twice.
        """
        return SampleTable(self.samples)

    @override
    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:
        group = process_group or self.process_group
        gathered: list[list[Sample] | None] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(gathered, self.samples, group=group)
        self.samples = [sample for samples in gathered for sample in samples or ()]
