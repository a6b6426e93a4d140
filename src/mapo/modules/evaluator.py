"""What the answers to evaluation sets come to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from lightning.pytorch import Trainer

from mapo.data.base import PromptDataModule
from mapo.metrics.figures import category_accuracies, paper_summary, set_figures
from mapo.metrics.samples import Sample, SampleMetric
from mapo.modules.answers import answer_reader, categories_of, samples_of
from mapo.modules.evaluation import SUFFIX, Evaluation, Mode
from mapo.modules.records import EvaluationRecord
from mapo.rewards.base import Reward


class Evaluator:
    """Turns every answer of every set into figures, the same on any number of ranks."""

    def __init__(self, evaluation: Evaluation, rewards: Sequence[Reward]) -> None:
        """Take how sets are answered, and the rewards that judge the answers.

        Raises:
            ValueError: A reward component has the name of another figure.
        """
        self._evaluation = evaluation
        self._rewards = tuple(rewards)
        self._votes = answer_reader(rewards) is not None
        self._components = [reward.name for reward in rewards if not reward.is_accuracy]
        self._metrics: dict[tuple[str, str, Mode], SampleMetric] = {}
        taken = set_figures([Sample("")], num=1).keys() & set(self._components)
        if taken:
            raise ValueError(
                f"reward {min(taken)!r} has the name of a figure of every set: rename its class or function"
            )

    def reset(self) -> None:
        """Start without answers; an evaluation that was interrupted leaves nothing behind."""
        self._metrics.clear()

    def update(self, record: EvaluationRecord, device: torch.device) -> None:
        """Take in one batch of this rank."""
        metric = self._metric(record.stage, record.set_name, record.mode, device)
        metric.update(samples_of(record, self._rewards))

    def reject(self, stage: str, set_name: str, faults: Mapping[str, str], device: torch.device) -> None:
        """Take in rows of this rank that turned out unusable, and why, by sample id; they count as wrong."""
        for mode, _, _ in self._evaluation.modes(set_name):
            samples = [Sample(sample_id, fault=fault) for sample_id, fault in faults.items()]
            self._metric(stage, set_name, mode, device).update(samples)

    def compute(self, stage: str, set_names: list[str], trainer: Trainer, device: torch.device) -> dict[str, float]:
        """Return ``<stage>/<set>/<figure>`` and ``<stage>/<summary>`` over all ranks.

        The data module is told of the rows that other ranks have rejected.

        Args:
            stage: ``val`` or ``test``.
            set_names: Every set, in the same order on every rank, so that none waits for another.
            trainer: Its data module knows the rows that could not be asked, which count as wrong, the sets that are out
                of domain, and figures of its own.
            device: Where this rank's metrics live.
        """
        data = getattr(trainer, "datamodule", None)
        data = data if isinstance(data, PromptDataModule) else None
        figures: dict[str, float] = {}
        for name in set_names:
            for mode, num, _ in self._evaluation.modes(name):
                metric = self._metric(stage, name, mode, device)
                metric.update([])  # a rank without rows is no mistake that torchmetrics should warn of
                samples = metric.compute().samples
                if data is not None:
                    samples = with_bad_rows(samples, data.bad_rows.setdefault(name, {}))
                own = {} if data is None else own_figures(data, name, samples)
                found = mode_figures(samples, num, mode, votes=self._votes, own=own)
                figures |= {f"{stage}/{name}/{figure}": value for figure, value in found.items()}
        return figures | ({} if data is None else summary(stage, set_names, data.out_of_domain_names, figures))

    def figure_names(self, set_name: str, data: PromptDataModule | None = None) -> set[str]:
        """Return the figures that a set will have; those that depend on its rows only with its data module."""
        names: set[str] = set()
        for mode, num, _ in self._evaluation.modes(set_name):
            once = (0.0,) * num
            answered = Sample("", once, answers=(None,) * num, components=dict.fromkeys(self._components, once))
            samples: list[Sample] = [answered]
            own: Mapping[str, float] = {}
            if data is not None:
                rows = data.eval_sets[set_name]
                samples = [replace(answered, sample_id=p.sample_id, categories=categories_of(p)) for p in rows]
                samples += map(Sample, data.bad_rows.get(set_name, ()))
                own = own_figures(data, set_name, samples)
            names |= mode_figures(samples, num, mode, votes=self._votes, own=own).keys()
        return names

    def _metric(self, stage: str, set_name: str, mode: Mode, device: torch.device) -> SampleMetric:
        key = (stage, set_name, mode)
        if key not in self._metrics:
            self._metrics[key] = SampleMetric().to(device)
        return self._metrics[key]


def mode_figures(
    samples: Sequence[Sample], num: int, mode: Mode, *, votes: bool, own: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the figures of one set in one mode under the names by which they are logged, less stage and set.

    Args:
        samples: All of the set.
        num: Completions of every prompt that could be asked.
        mode: Decides on the suffix of the names.
        votes: Whether samples hold what their completions answer.
        own: Figures of the set's benchmark; where a name is taken, they give way.

    Returns:
        Also ``accuracy/<category>/<value>`` and ``num_samples/<category>/<value>``, the latter alike in every mode.
    """
    suffix = SUFFIX[mode]
    figures = {**(own or {}), **set_figures(samples, num, votes=votes)}
    named = {f"{name}{suffix}": value for name, value in figures.items()}
    for (category, value), (accuracy, count) in category_accuracies(samples).items():
        named[f"accuracy{suffix}/{category}/{value}"] = accuracy
        named[f"num_samples/{category}/{value}"] = float(count)
    return named


def with_bad_rows(samples: Sequence[Sample], bad_rows: dict[str, str]) -> tuple[Sample, ...]:
    """Return the samples and those of the bad rows, to which the rejected ones among the samples are added."""
    bad_rows |= {sample.sample_id: sample.fault for sample in samples if sample.fault is not None}
    return *(sample for sample in samples if sample.fault is None), *map(Sample, bad_rows)


def is_category_size(name: str) -> bool:
    """Tell ``<stage>/<set>/num_samples/<category>/<value>`` from all other figures."""
    return name.split("/")[2:3] == ["num_samples"]


def summary(
    stage: str, set_names: Sequence[str], out_of_domain: Collection[str], figures: Mapping[str, float]
) -> dict[str, float]:
    """Return the paper's summary, ``<stage>/A_S`` and so on, for every mode in which all sets were answered."""
    found: dict[str, float] = {}
    for suffix in SUFFIX.values():
        accuracies = {name: figures.get(f"{stage}/{name}/accuracy{suffix}") for name in set_names}
        known = {name: value for name, value in accuracies.items() if value is not None}
        if len(known) == len(set_names):
            inside = [value for name, value in known.items() if name not in out_of_domain]
            outside = [value for name, value in known.items() if name in out_of_domain]
            found |= {f"{stage}/{name}{suffix}": value for name, value in paper_summary(inside, outside).items()}
    return found


def own_figures(data: PromptDataModule, set_name: str, samples: Sequence[Sample]) -> Mapping[str, float]:
    """Return what the benchmark of a set makes of the accuracies of its samples."""
    accuracies = {sample.sample_id: sample.mean_accuracy for sample in samples}
    return data.owner(set_name).figures(set_name, accuracies)
