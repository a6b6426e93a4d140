"""Callbacks that wait for a figure of an evaluation: one that will never come is refused before the run."""

import difflib

from lightning.pytorch import Trainer

from mapo.data.base import PromptDataModule
from mapo.modules.evaluation import SUFFIX
from mapo.modules.evaluator import Evaluator, is_category_size, summary


def check_monitors(trainer: Trainer, data: PromptDataModule, evaluator: Evaluator | None) -> None:
    """Refuse a callback that monitors a ``val/`` figure which this run will not log.

    Args:
        trainer: With its callbacks.
        data: Set up.
        evaluator: Knows the figures of every set; without one, only the set's name is checked.

    Raises:
        ValueError: Naming the callback, the figure, and what there is instead.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = str(getattr(callback, "monitor", None))
        if monitor.startswith("val/") and (reason := _fault(monitor.removeprefix("val/"), data, evaluator)):
            raise ValueError(f"{type(callback).__name__} monitors {monitor!r}, but {reason}")


def _fault(name: str, data: PromptDataModule, evaluator: Evaluator | None) -> str | None:
    """Return why there will be no such figure; None where there will be."""
    names = data.eval_names
    set_name, _, figure = name.partition("/")
    if evaluator is not None and name.removesuffix(SUFFIX["greedy"]) in ("A_S", "A_T", "A"):
        return _summary_fault(name, data, evaluator)
    if set_name not in names:
        usual = f"val/{next(iter(names), '<set>')}/accuracy"
        return f"the evaluation sets are {', '.join(names)}; set its monitor to one of them, such as {usual}"
    if evaluator is None:
        return None
    known = evaluator.figure_names(set_name)
    if figure in known or figure in (known := evaluator.figure_names(set_name, data)):
        return None
    near = difflib.get_close_matches(figure, known, n=1) or ["accuracy"]
    listed = ", ".join(sorted(name for name in known if not is_category_size(f"val/{set_name}/{name}")))
    return f"that is no figure of the set; its figures are {listed}; did you mean val/{set_name}/{near[0]}?"


def _summary_fault(name: str, data: PromptDataModule, evaluator: Evaluator) -> str | None:
    names, outside = data.eval_names, data.out_of_domain_names
    figures = {f"val/{of}/{known}": 0.0 for of in names for known in evaluator.figure_names(of)}
    if f"val/{name}" in summary("val", names, outside, figures):
        return None
    return (
        "the summary of all sets needs some in domain and some out of domain, each answered in that mode; of "
        f"{', '.join(names)} {', '.join(outside) or 'none'} is out of domain"
    )
