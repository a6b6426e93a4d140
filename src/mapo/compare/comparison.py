"""Runs to methods with their accuracies, differences and learning curves, each with how sure it is."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapo.compare.methods import Method, group_methods, read_algorithms
from mapo.compare.pairing import Budget, budget, budget_warnings, shared_sets
from mapo.compare.runs import Mode, Run, find_runs, read_run
from mapo.compare.statistics import Bootstrap, Interval, cohens_h

ALGORITHMS = Path("configs/algorithm")
_CURVE_REPLICATES = 2_000


@dataclass(frozen=True)
class Measure:
    """An accuracy that methods are compared by.

    Attributes:
        name: Of a set, or A_S, A_T or A.
        weights: Of the sets in it; they add up to 1.
    """

    name: str
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Pair:
    """One method against another.

    Attributes:
        first: Name of the method that is judged.
        second: Name of the method that it is held against.
        differences: By measure, first less second, in shares of 1.
        effects: Cohen's h by measure.
        paired_runs: Whether the runs were paired by seed; questions always are.
    """

    first: str
    second: str
    differences: Mapping[str, Interval]
    effects: Mapping[str, float]
    paired_runs: bool


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        methods: In the order of the table.
        reference: The method that the others are held against.
        mode: How sets were answered.
        num_questions: By set; the sets in domain come first.
        measures: Columns of the table, A_S, A_T and A last.
        headline: The measure that sentences are about.
        levels: Accuracies by method and measure, after training.
        before: Accuracies of the reference by measure before training; empty where that was not evaluated.
        pairs: Every two methods, the later of the table against the earlier, the reference always second.
        curves: Accuracies by method, measure and phase.
        budgets: By method.
        warnings: What a reader has to know before believing any of this.
    """

    methods: Sequence[Method]
    reference: str
    mode: Mode
    num_questions: Mapping[str, int]
    measures: Sequence[Measure]
    headline: str
    levels: Mapping[str, Mapping[str, Interval]]
    before: Mapping[str, Interval]
    pairs: Sequence[Pair]
    curves: Mapping[str, Mapping[str, Mapping[int, Interval]]]
    budgets: Mapping[str, Budget]
    warnings: Sequence[str]

    def pair(self, first: str, second: str) -> Pair:
        """Return two methods in this order.

        Raises:
            KeyError: There is no such pair; the other order may exist.
        """
        for found in self.pairs:
            if (found.first, found.second) == (first, second):
                return found
        raise KeyError((first, second))


def compare(
    paths: Iterable[str | Path],
    *,
    names: Mapping[str | Path, str] | None = None,
    reference: str | None = None,
    mode: Mode | None = None,
    algorithms: str | Path = ALGORITHMS,
    num_replicates: int = 10_000,
) -> Comparison:
    """Compare the runs in some folders.

    Args:
        paths: Folders of runs, or folders above them.
        names: Names of methods by the folder of a run, or one above; other runs get theirs from ``algorithms``.
        reference: Name of the method that the others are held against; the first one when None.
        mode: ``sampled`` or ``greedy`` answers; sampled ones where all runs have them when None.
        algorithms: Folder of the YAML files after which methods are named.
        num_replicates: Of the bootstrap.

    Raises:
        ValueError: The runs cannot be read or not be compared; the message says why.
    """
    given = {folder: name for path, name in (names or {}).items() for folder in find_runs([path])}
    folders = dict.fromkeys([*find_runs(paths), *given])
    runs = [read_run(folder) for folder in folders]
    methods = _reference_first(group_methods(runs, read_algorithms(Path(algorithms)), given), reference)
    stage = "val" if any(run.modes("val") for run in runs) else "test"
    mode = _mode(runs, stage, mode)
    final = [
        (run, run.evaluation(stage, mode, run.last_phase(stage, mode))) for method in methods for run in method.runs
    ]
    sets, left_out = shared_sets(final, mode)
    outside = [name for name in sets if name in runs[0].out_of_domain]
    measures = _measures([name for name in sets if name not in outside], outside)
    bootstrap = _bootstrap(methods, stage, mode, sets, num_replicates)
    budgets = [budget(method) for method in methods]
    only_some = [f"Not compared, since only some runs answered it: {', '.join(left_out)}."] if left_out else []
    curves = {method.name: _curve(method, stage, mode, measures) for method in methods}
    return Comparison(
        methods=methods,
        reference=methods[0].name,
        mode=mode,
        num_questions={name: len(final[0][1][name].right) for measure in measures for name in measure.weights},
        measures=measures,
        headline=measures[-1].name,
        levels={
            method.name: {measure.name: bootstrap.level(place, measure.weights) for measure in measures}
            for place, method in enumerate(methods)
        },
        before={name: found[0] for name, found in curves[methods[0].name].items() if 0 in found},
        pairs=_pairs(methods, measures, bootstrap),
        curves=curves,
        budgets={method.name: own for method, own in zip(methods, budgets, strict=True)},
        warnings=[*_seed_warnings(methods), *budget_warnings(methods, budgets), *only_some],
    )


def _reference_first(methods: Sequence[Method], reference: str | None) -> list[Method]:
    if reference is not None and reference not in (names := [method.name for method in methods]):
        raise ValueError(f"there is no method {reference!r} to hold the others against; there is {', '.join(names)}")
    return sorted(methods, key=lambda method: method.name != reference)


def _mode(runs: Sequence[Run], stage: str, mode: Mode | None) -> Mode:
    wanted: tuple[Mode, ...] = ("sampled", "greedy") if mode is None else (mode,)
    for one in wanted:
        if all(one in run.modes(stage) for run in runs):
            return one
    lacking = next(run for run in runs if wanted[0] not in run.modes(stage))
    raise ValueError(
        f"{lacking.folder} has no {wanted[0]} answers under {stage}/, which the other runs are compared by"
    )


def _measures(inside: Sequence[str], outside: Sequence[str]) -> list[Measure]:
    """Return every set, and the paper's summary of sets in and out of domain, or else the mean of several sets."""
    sets = [Measure(name, {name: 1.0}) for name in (*inside, *outside)]
    if not (inside and outside):
        return sets if len(sets) == 1 else [*sets, Measure("mean", {one.name: 1 / len(sets) for one in sets})]
    source, target = ({name: 1 / len(part) for name in part} for part in (inside, outside))
    both = {name: weight / 2 for name, weight in {**source, **target}.items()}
    return [*sets, Measure("A_S", source), Measure("A_T", target), Measure("A", both)]


def _bootstrap(
    methods: Sequence[Method], stage: str, mode: Mode, sets: Sequence[str], num: int, phase: int | None = None
) -> Bootstrap:
    """Return the intervals of one evaluation, the last one of every run when ``phase`` is None."""
    found = [
        [run.evaluation(stage, mode, run.last_phase(stage, mode) if phase is None else phase) for run in method.runs]
        for method in methods
    ]
    matrices = {name: [np.stack([one[name].accuracy for one in of_method]) for of_method in found] for name in sets}
    return Bootstrap(matrices, num_replicates=num)


def _pairs(methods: Sequence[Method], measures: Sequence[Measure], bootstrap: Bootstrap) -> list[Pair]:
    pairs = []
    for (b, second), (a, first) in itertools.combinations(enumerate(methods), 2):
        paired = first.seeds == second.seeds and None not in first.seeds
        differences, effects = {}, {}
        for measure in measures:
            differences[measure.name] = bootstrap.difference(a, b, measure.weights, paired=paired)
            effects[measure.name] = cohens_h(*(bootstrap.value(place, measure.weights) for place in (a, b)))
        pairs.append(Pair(first.name, second.name, differences, effects, paired))
    return pairs


def _curve(method: Method, stage: str, mode: Mode, measures: Sequence[Measure]) -> dict[str, dict[int, Interval]]:
    """Return accuracies by measure and phase, at the phases at which all runs of the method were evaluated."""
    sets = list(dict.fromkeys(name for measure in measures for name in measure.weights))
    phases = set.intersection(*(_complete_phases(run, stage, mode, sets) for run in method.runs))
    curve: dict[str, dict[int, Interval]] = {measure.name: {} for measure in measures}
    for phase in sorted(phases):
        bootstrap = _bootstrap([method], stage, mode, sets, _CURVE_REPLICATES, phase)
        for measure in measures:
            curve[measure.name][phase] = bootstrap.level(0, measure.weights)
    return curve


def _complete_phases(run: Run, stage: str, mode: Mode, sets: Sequence[str]) -> set[int]:
    last = run.evaluation(stage, mode, run.last_phase(stage, mode))
    sizes = {name: len(last[name].right) for name in sets}
    evaluations = {phase: run.evaluation(stage, mode, phase) for phase in run.phases(stage, mode)}
    return {
        phase
        for phase, found in evaluations.items()
        if all(name in found and len(found[name].right) == size for name, size in sizes.items())
    }


def _seed_warnings(methods: Sequence[Method]) -> list[str]:
    single = [method.name for method in methods if len(method.runs) == 1]
    if not single:
        return []
    return [
        f"One seed only ({', '.join(single)}): the intervals say what other questions would change, "
        "nothing of another training run."
    ]
