from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mapo.callbacks.log_dir import log_dir


class Watch(Callback):
    def setup(self, trainer, pl_module, stage):
        self.folder = log_dir(trainer)


class Elsewhere(Logger):
    """A logger that keeps its figures on some server."""

    name = version = "x"

    def log_metrics(self, metrics, step=None): ...

    def log_hyperparams(self, params, *_): ...


def folder_of(module, make_trainer, rows, **arguments):
    watch = Watch()
    make_trainer(watch, **arguments).validate(module(), rows, verbose=False)
    return watch.folder


def test_it_is_the_loggers_folder(module, make_trainer, rows, tmp_path):
    for logger in (TensorBoardLogger(tmp_path), CSVLogger(tmp_path)):
        assert folder_of(module, make_trainer, rows, logger=logger) == Path(logger.log_dir)


def test_without_a_folder_of_a_logger_it_is_the_trainers(module, make_trainer, rows, tmp_path):
    assert folder_of(module, make_trainer, rows, logger=False) == tmp_path
    assert folder_of(module, make_trainer, rows, logger=Elsewhere()) == tmp_path


def test_a_development_run_has_none(module, make_trainer, rows):
    assert folder_of(module, make_trainer, rows, fast_dev_run=True) is None
