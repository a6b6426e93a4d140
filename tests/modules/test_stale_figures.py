import csv
from dataclasses import dataclass
from typing import ClassVar

from arithmetic import EvenLength
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from test_mapo import fit
from typing_extensions import override

from mapo.functional.success_bins import BINS


@dataclass(frozen=True)
class OnceInDoubt(EvenLength):
    """Tells completions apart in the first phase alone; later all are right."""

    calls: ClassVar[list[int]] = []

    @override
    def __call__(self, completions):
        self.calls.append(len(completions))
        return [float(len(self.calls) > 1 or i % 4 == 0) for i in range(len(completions))]


class Known(Callback):
    """Keeps the names that Lightning knows after every phase."""

    def __init__(self) -> None:
        self.names = []

    @override
    def on_train_batch_end(self, trainer, *_) -> None:
        self.names.append(set(trainer.callback_metrics) | set(trainer.logged_metrics))


def test_what_a_phase_does_not_have_is_not_logged_again(tmp_path, tiny_lm_path):
    OnceInDoubt.calls.clear()
    known = Known()
    settings = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1, "limit_train_batches": 2, "max_epochs": 1}
    fit(tmp_path, tiny_lm_path, callbacks=[known], trainer=settings, rewards=[OnceInDoubt()], kl_coef=0.1)
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/reward"]]
    in_bins = [{name for name, value in row.items() if value and name.rpartition("/")[2] in BINS} for row in rows]
    assert [{name.rpartition("/")[2] for name in names} for names in in_bins] == [{"few"}, {"all"}]
    for logged, names in zip(in_bins, known.names, strict=True):
        assert {name for name in names if name.rpartition("/")[2] in BINS} == logged
