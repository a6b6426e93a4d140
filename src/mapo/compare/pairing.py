"""Whether accuracies of several runs may be compared question by question, and whether the runs had the same budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mapo.compare.methods import Method
from mapo.compare.runs import Answers, Mode, Run
from mapo.modules.set_entries import entry_of

_TOKENS_APART = 0.1  # methods sample other lengths; a tenth is more than the noise of that


@dataclass(frozen=True)
class Budget:
    """What one run of a method had, None where its files do not tell.

    Attributes:
        rollouts: Training completions.
        steps: Optimizer steps.
        tokens: Sampled in training, mean over runs.
    """

    rollouts: int | None
    steps: int | None
    tokens: float | None


def shared_sets(answers: Sequence[tuple[Run, Mapping[str, Answers]]], mode: Mode) -> tuple[list[str], list[str]]:
    """Return the sets that every run has answered, and those that only some have.

    Args:
        answers: Runs with their answers by set.
        mode: How they were answered.

    Raises:
        ValueError: There is none that all have, or one was answered or judged in several ways.
    """
    first, known = answers[0]
    names = list(dict.fromkeys(name for _, found in answers for name in found))
    shared = [name for name in names if all(name in found for _, found in answers)]
    if not shared:
        by_run = "; ".join(f"{run.folder}: {', '.join(found)}" for run, found in answers)
        raise ValueError(f"there is no evaluation set that all runs have answered ({by_run})")
    for run, found in answers[1:]:
        for name in shared:
            for what in (
                _questions_apart(known[name], found[name]),
                _draws_apart(_draws(first, name, mode), _draws(run, name, mode)),
                _draws_apart(_judge(first), _judge(run)),
            ):
                if what:
                    raise ValueError(f"set {name!r} cannot be paired in {first.folder} and {run.folder}: {what}")
    return shared, [name for name in names if name not in shared]


def budget(method: Method) -> Budget:
    """Return what the runs of a method had, as their first run says."""
    run = method.runs[0]
    phases, data = run.results.get("phases"), (run.config.get("data") or {}).get("init_args", {})
    batch, group = data.get("batch_size"), run.model.get("group_size")
    rollouts = phases * batch * group if phases is not None and batch and group else None
    steps = None if phases is None else phases * run.model.get("updates_per_phase", 1)
    tokens = [run.results.get("tokens_sampled") for run in method.runs]
    known = [count for count in tokens if count]
    return Budget(rollouts, steps, sum(known) / len(known) if known else None)


def budget_warnings(methods: Sequence[Method], budgets: Sequence[Budget]) -> list[str]:
    """Return one line for everything that methods, or the runs of one, did not have alike."""
    lines = []
    for what in ("rollouts", "steps"):
        found = {method.name: getattr(own, what) for method, own in zip(methods, budgets, strict=True)}
        if len(set(found.values())) > 1:
            lines.append(f"Unequal budget: {what} per run differ ({_listed(found)}).")
    tokens = {method.name: own.tokens for method, own in zip(methods, budgets, strict=True) if own.tokens}
    if tokens and max(tokens.values()) > (1 + _TOKENS_APART) * min(tokens.values()):
        lines.append(f"Unequal budget: tokens sampled per run differ by more than a tenth ({_listed(tokens)}).")
    for method in methods:
        if refills := (method.runs[0].model.get("dynamic_sampling") or {}).get("max_refills"):
            lines.append(
                f"Unequal budget: {method.name} samples up to {1 + refills} times its rollouts, until groups teach "
                "something; those that it leaves are not counted."
            )
        phases = {str(run.folder): run.results.get("phases") for run in method.runs}
        if len(set(phases.values())) > 1:
            lines.append(f"Unequal budget: the runs of {method.name} have different phases ({_listed(phases)}).")
        lines += [
            f"{run.folder} was broken off; its last evaluation is compared."
            for run in method.runs
            if run.results.get("finished") is False
        ]
    return lines


def _listed(values: Mapping[str, Any]) -> str:
    """Return names by value, so that fifteen equal ones are not listed one by one."""
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault("unknown" if value is None else f"{value:,.0f}", []).append(name)
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in by_value.items())


def _questions_apart(first: Answers, second: Answers) -> str | None:
    """Return in which questions two evaluations differ."""
    if first.right == second.right:
        return None
    missing, added = first.right.keys() - second.right.keys(), second.right.keys() - first.right.keys()
    if missing or added:
        example = min(missing or added)
        return (
            f"{len(first.right)} and {len(second.right)} questions, {len(missing)} only in the first and {len(added)} "
            f"only in the second, such as {example!r}"
        )
    name = next(name for name, right in first.right.items() if second.right[name] != right)
    return (
        f"the right answer of {name!r} is {first.right[name]!r} in the first and {second.right[name]!r} in the second"
    )


def _draws(run: Run, name: str, mode: Mode) -> dict[str, Any]:
    """Return how the answers to a set were drawn, as the run's configuration says."""
    evaluation = dict(run.model.get("evaluation") or {})
    own = {
        key: value for key, value in (entry_of(evaluation.get("sets") or {}, name) or {}).items() if value is not None
    }
    evaluation |= own
    sampling = dict(evaluation.get("sampling") or {})
    if mode == "greedy":
        return {"max_completion_tokens": sampling.get("max_completion_tokens")}
    return {"num_samples": evaluation.get("num_samples"), **sampling}


def _judge(run: Run) -> dict[str, Any]:
    """Return what decides on the accuracy of a run's answers."""
    for reward in run.model.get("rewards") or ():
        settings = reward.get("init_args") or {}
        if settings.get("is_accuracy"):
            free = ("weight", "num_workers", "memory_mb", "required_for_success")
            return {"accuracy": reward["class_path"], **{k: v for k, v in settings.items() if k not in free}}
    return {}


def _draws_apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    apart = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return ", ".join(f"{key} is {first.get(key)} in the first and {second.get(key)} in the second" for key in apart)
