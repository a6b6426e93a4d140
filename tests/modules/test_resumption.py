import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

from mapo.modules.resumption import Resumption


@pytest.fixture
def make_trainer(tmp_path):
    def make(command=TrainerFn.VALIDATING, **settings):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path / "root", **quiet | settings)
        trainer.state.fn = command
        return trainer

    return make


def test_the_folder_is_the_same_for_every_run_of_a_command(make_trainer, tmp_path):
    for version in (0, 1):  # a logger's own folder is a new one every time
        resumption, logger = Resumption(), CSVLogger(tmp_path / "runs", name="mine", version=version)
        resumption.begin(make_trainer(logger=logger), lambda: "abc")
        assert resumption.spool.folder == tmp_path / "runs" / ".unfinished" / "abc"
        resumption.let_go()
    resumption.begin(make_trainer(), lambda: "abc")
    assert resumption.spool.folder == tmp_path / "root" / ".unfinished" / "abc"


def test_the_end_removes_the_folder_and_its_parent(make_trainer, tmp_path):
    resumption, trainer = Resumption(), make_trainer()
    resumption.begin(trainer, lambda: "abc")
    resumption.end(trainer)
    assert list((tmp_path / "root").iterdir()) == []
    assert resumption.spool.folder is None


@pytest.mark.parametrize(
    ("command", "settings"), [(TrainerFn.FITTING, {}), (TrainerFn.VALIDATING, {"fast_dev_run": 1})]
)
def test_fits_and_dry_runs_keep_nothing_and_are_not_digested(make_trainer, tmp_path, command, settings):
    resumption, trainer = Resumption(), make_trainer(command, **settings)
    resumption.begin(trainer, lambda: pytest.fail("nobody asked"))
    resumption.end(trainer)
    assert not (tmp_path / "root" / ".unfinished").exists()


def test_a_second_beginning_in_the_same_process_takes_over(make_trainer):
    several = [Resumption(), Resumption()]  # as in a notebook, where the module of an interrupted run lives on
    for resumption in several:
        resumption.begin(make_trainer(), lambda: "abc")
        assert resumption.spool.folder is not None
