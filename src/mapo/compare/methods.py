"""Which runs are repetitions of one method, what a method is called, and what sets it apart."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mapo.compare.runs import Run

# What repetitions of a method may differ in, or lack since they are older: seeds, how they are evaluated, what changes
# speed, memory or logs alone, and when a run gives up, since those that are compared have come to their end.
_FREE = (
    "seed_everything",
    "model.seed",
    "model.evaluation",
    "model.max_tokens_per_micro_batch",
    "model.max_skipped_steps",
    "model.log_entropy",
    "model.policy.share_prefix",
    "model.policy.gradient_checkpointing",
    "model.policy.reference_on_host",
    "model.rollout.max_batch_rows",
    "model.rollout.cuda_graphs",
    "data.seed",
    "data.problem_seed",
    "data.num_eval",
    "data.max_eval_samples",
    "data.eval_batch_size",
    "data.on_changed_rows",
)
_TRAINER = ("max_epochs", "max_steps", "limit_train_batches", "precision")
_ABSENT = "(not set)"


@dataclass(frozen=True)
class Method:
    """Repetitions of one method.

    Attributes:
        name: As it is shown.
        runs: One per seed, in the order of the seeds.
        settings: What sets it apart from the other methods, by dotted key.
    """

    name: str
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Of the runs."""
        return tuple(run.seed for run in self.runs)


def group_methods(
    runs: Sequence[Run], algorithms: Mapping[str, Any], names: Mapping[Path, str] | None = None
) -> list[Method]:
    """Return the methods of some runs in the order in which they come.

    Args:
        runs: Any number.
        algorithms: Methods that have a name, by it: what they set, as ``read_algorithms`` gives it.
        names: Names that were given to runs, by folder.

    Raises:
        ValueError: Runs under one given name differ, or two runs of a method have the same seed.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        name = (names or {}).get(run.folder) or _name(run, algorithms)
        groups.setdefault((name, repr(sorted(signature(run).items(), key=str))), []).append(run)
    apart = _differences([signature(found[0]) for found in groups.values()])
    methods = []
    for (name, _), found in groups.items():
        same_name = [signature(other[0]) for (called, _), other in groups.items() if called == name]
        settings = signature(found[0])
        own = {key: settings.get(key, _ABSENT) for key in _differences(same_name)}
        if own and name in (names or {}).values():
            raise ValueError(f"runs that are called {name!r} are of several methods: they differ in {', '.join(own)}")
        shown = name + (f" ({', '.join(f'{_short(key)} {value}' for key, value in own.items())})" if own else "")
        _check_seeds(shown, found)
        ordered = sorted(found, key=lambda run: -1 if run.seed is None else run.seed)
        methods.append(Method(shown, tuple(ordered), {key: settings.get(key, _ABSENT) for key in apart}))
    return methods


def signature(run: Run) -> dict[str, Any]:
    """Return every setting that makes a method, by dotted key; ``init_args`` are left out of the keys."""
    trainer = {name: (run.config.get("trainer") or {}).get(name) for name in _TRAINER}
    parts = {"model": run.model, "data": run.config.get("data"), "trainer": trainer}
    return {key: value for key, value in _leaves("", parts) if not _is_free(key)}


def read_algorithms(folder: Path) -> dict[str, Any]:
    """Return what each of the YAML files of a folder sets, by the name of the file; nothing without the folder."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}


def matched(pattern: Any, given: Any) -> int | None:
    """Return how many values of a configuration a run has; None where it differs in one.

    A class is the same by its short name, a list under a key that ends in ``+`` was added to what was there.

    Example:
        >>> matched({"advantage": "ZScore"}, {"advantage": {"class_path": "mapo.advantages.z_score.ZScore"}})
        1
    """
    if isinstance(pattern, Mapping) and isinstance(given, Mapping):
        return _sum(_matched_key(key, value, given) for key, value in pattern.items())
    if isinstance(given, Mapping):  # a class without arguments may be written as its name alone
        return _matched_key("class_path", pattern, given)
    if isinstance(pattern, list) and isinstance(given, list):
        return _sum(matched(*pair) for pair in zip(pattern, given, strict=True)) if len(pattern) == len(given) else None
    return 1 if _number(pattern) == _number(given) else None


def _matched_key(key: str, value: Any, given: Mapping[str, Any]) -> int | None:
    if key == "class_path":
        return 1 if _class_name(value) == _class_name(given.get(key)) else None
    if not key.endswith("+"):
        return matched(value, given.get(key))
    there = given.get(key.removesuffix("+")) or []
    best = [[matched(one, other) for other in there] for one in (value if isinstance(value, list) else [value])]
    return _sum(max((n for n in counts if n is not None), default=None) for counts in best)


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _name(run: Run, algorithms: Mapping[str, Any]) -> str:
    """Return the algorithm that says most of what the run has, with those equal to it, or its advantage's class."""
    counts = {name: matched(pattern, run.config) for name, pattern in algorithms.items()}
    known = {name: count for name, count in counts.items() if count}
    if known:
        best = algorithms[max(known, key=lambda name: known[name])]
        return " = ".join(name for name in known if algorithms[name] == best)
    return _class_name((run.model.get("advantage") or {}).get("class_path", run.folder.name))


def _check_seeds(name: str, runs: Iterable[Run]) -> None:
    seen: dict[int | None, Path] = {}
    for run in runs:
        if run.seed in seen:
            raise ValueError(
                f"{seen[run.seed]} and {run.folder} are the same method, {name}, with the same seed, {run.seed}: "
                "the second tells nothing new; name the folders of the runs and leave one of these out"
            )
        seen[run.seed] = run.folder


def _differences(signatures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys in which at least two differ."""
    keys = dict.fromkeys(key for one in signatures for key in one)
    return [key for key in keys if len({repr(one.get(key, _ABSENT)) for one in signatures}) > 1]


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            if name != "class_path" and not name.startswith("_"):
                yield from _leaves(key if name == "init_args" else f"{key}.{name}".lstrip("."), inner)
        if "class_path" in value:
            yield key, _class_name(value["class_path"])
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _leaves(f"{key}.{place}", item)
    else:
        yield key, value


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def _short(key: str) -> str:
    return ".".join(key.split(".")[-2:]) if key.startswith("model.") else key


def _class_name(path: Any) -> str:
    return str(path).rpartition(".")[2]


def _number(value: Any) -> Any:
    """Return as a number what YAML 1.1 takes for a text, such as 1e-6."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
