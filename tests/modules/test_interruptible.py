"""Evaluations that were interrupted, and started again in the same process."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
from arithmetic import SHORT, EvenLength, Sums, make_module
from lightning.pytorch import Callback, Trainer

from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.summary import ClosingSummary
from mapo.modules.evaluation import Evaluation
from mapo.types import Sampling


class Stop(Callback):
    """Ends the run after some batches."""

    def __init__(self, batches, error=KeyboardInterrupt) -> None:
        self.batches, self.error = batches, error

    def on_validation_batch_end(self, trainer, *_) -> None:
        self.batches -= 1
        if self.batches == 0:
            if self.error is signal.SIGTERM:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                raise self.error

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end


@dataclass(frozen=True)
class Unsure(EvenLength):
    """Cannot score some rows."""

    def __call__(self, completions):
        values = zip(completions, super().__call__(completions), strict=True)
        return [None if c.prompt.sample_id.endswith("1") else value for c, value in values]


class Run:
    """One evaluation: what was sampled in it, what came out."""

    def __init__(self, folder, path, *, stage="validate", stop=None, trainer=None, data=None, nudge=0.0, **settings):
        self.folder, self.sampled = folder, []
        self.module = make_module(path, **{"rewards": [Unsure()]} | settings)
        self._spy()
        callbacks = [ClosingSummary(), CompletionsTable(), *([stop] if stop else [])]
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        arguments = {"accelerator": "cpu", "devices": 1, "default_root_dir": folder} | quiet | (trainer or {})
        self.trainer = Trainer(callbacks=callbacks, **arguments)
        if nudge:
            self.module.configure_model()
            next(self.module.actor.parameters()).data.view(-1)[0] += nudge
        verbose = {} if stage in ("predict", "fit") else {"verbose": False}
        data = data or Sums(eval_batch_size=2)
        getattr(self.trainer, stage)(self.module, datamodule=data, **verbose)

    def _spy(self):
        generate = self.module.generate

        def spied(prompts, num, sampling, *, split, epoch):
            self.sampled += [(split.partition("/")[2], prompt.sample_id) for prompt in prompts]
            return generate(prompts, num, sampling, split=split, epoch=epoch)

        self.module.generate = spied

    @property
    def results(self):
        return json.loads((self.folder / "results.json").read_text())

    def rows(self, name="evaluation"):
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture
def run(tmp_path, tiny_lm_path):
    """Evaluate in a folder of this name; a run that is stopped is returned by ``interrupted``."""

    def make(name, **settings):
        return Run(tmp_path / name, tiny_lm_path, **settings)

    return make


@pytest.fixture
def interrupted(run, monkeypatch):
    """Evaluate until the stop, and return what was sampled."""

    def make(name, batches=3, error=KeyboardInterrupt, **settings):
        runs = []
        monkeypatch.setattr(Run, "_spy", lambda self, spy=Run._spy: (runs.append(self), spy(self)))
        with pytest.raises(SystemExit if error in (KeyboardInterrupt, signal.SIGTERM) else error):
            run(name, stop=Stop(batches, error), **settings)
        monkeypatch.undo()
        return runs[0].sampled

    return make


def unfinished(folder):
    return sorted(path.name for path in (folder / ".unfinished").glob("*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, signal.SIGTERM, MemoryError])
def test_it_ends_as_if_it_had_not_been_interrupted(run, interrupted, tmp_path, error):
    whole, before = run("whole"), interrupted("cut", error=error)
    assert len(before) == 10  # five rows in two modes
    rest = run("cut")
    assert sorted(before + rest.sampled) == sorted(whole.sampled)  # each once
    assert rest.results["sets"] == whole.results["sets"]
    assert rest.rows() == whole.rows()
    assert unfinished(tmp_path / "cut") == []
    assert {row["valid"] for row in whole.rows()} == {True, False}


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_test_and_predict_go_on_as_well(run, interrupted, tmp_path, stage):
    whole, before = run("whole", stage=stage), interrupted("cut", stage=stage)
    assert run("cut").sampled == run("other").sampled  # not with the answers of another stage
    rest = run("cut", stage=stage)
    assert sorted(before + rest.sampled) == sorted(whole.sampled)
    name = "predictions" if stage == "predict" else "evaluation"
    assert rest.rows(name) == whole.rows(name)
    assert unfinished(tmp_path / "cut") == []


class Grumpy(Unsure):
    """Fails in its second set, between the modes of a batch."""

    def __call__(self, completions):
        if os.environ.get("GRUMPY") and completions[0].prompt.sample_id == "sum-1000" and len(completions) == 2:
            raise RuntimeError("greedy answers are not for me")
        return super().__call__(completions)


def test_a_batch_that_was_answered_in_one_mode_is_answered_in_the_other(run, interrupted, monkeypatch):
    settings = {"rewards": [Grumpy()]}
    whole = run("whole", **settings)
    monkeypatch.setenv("GRUMPY", "1")
    with pytest.raises(RuntimeError):
        run("cut", **settings)
    monkeypatch.delenv("GRUMPY")
    rest = run("cut", **settings)
    assert ("far/sampled", "sum-1000") not in rest.sampled
    assert ("far/greedy", "sum-1000") in rest.sampled
    assert rest.rows() == whole.rows()
    assert rest.results["sets"] == whole.results["sets"]


@pytest.mark.parametrize(
    "change",
    [
        {"nudge": 1e-3},
        {"seed": 1},
        {"evaluation": Evaluation(sampling=Sampling(max_completion_tokens=4, temperature=0.5), num_samples=2)},
        {"evaluation": Evaluation(sampling=SHORT, num_samples=3)},
        {"rewards": [EvenLength()]},
        {"data": Sums(eval_batch_size=2, instruction="Think.")},
    ],
    ids=["weights", "seed", "temperature", "samples", "rewards", "data"],
)
def test_with_anything_changed_it_starts_over(run, interrupted, tmp_path, change):
    interrupted("cut")
    (left,) = unfinished(tmp_path / "cut")
    assert len(run("cut", **change).sampled) == 16
    assert unfinished(tmp_path / "cut") == [left]


def test_it_says_what_is_there_and_where(run, interrupted, tmp_path, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    interrupted("cut", batches=4)
    folder = tmp_path / "cut" / ".unfinished" / unfinished(tmp_path / "cut")[0]
    assert f"validate was broken off; its answers so far are in {folder}" in caplog.text
    assert "continuing" not in caplog.text
    run("cut")
    (line,) = [message for message in caplog.messages if "continuing" in message]
    assert line == (
        "continuing an interrupted validate: 5 of 5 rows of near, 2 of 3 rows of far are answered "
        f"({folder}); delete the folder to start over"
    )


def test_an_error_before_the_first_answer_leaves_nothing_behind(run, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    monkeypatch.setattr(Unsure, "__call__", lambda self, completions: [2.0] * len(completions))
    with pytest.raises(ValueError, match=r"returned 2\.0 for sample 'sum-100'"):
        run("cut")
    assert not (tmp_path / "cut" / ".unfinished").exists()
    assert "broken off" not in caplog.text


def test_switched_off_nothing_is_kept(run, interrupted, tmp_path, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    off = {"evaluation": Evaluation(sampling=SHORT, num_samples=2, resume=False)}
    interrupted("cut", **off)
    assert unfinished(tmp_path / "cut") == []
    assert "broken off" not in caplog.text
    assert len(run("cut", **off).sampled) == 16


class Look(Callback):
    """Notes what is kept after every validated batch."""

    def __init__(self) -> None:
        self.folders = []

    def on_validation_batch_end(self, trainer, module, *_) -> None:
        self.folders.append(module.resumption.spool.folder)


def test_validations_inside_a_fit_keep_nothing(run, tmp_path):
    look = Look()
    fit = run("fit", stage="fit", stop=look, trainer={"max_epochs": 1, "enable_checkpointing": False})
    assert look.folders
    assert set(look.folders) == {None}
    assert unfinished(tmp_path / "fit") == []
    assert {("near/greedy", "sum-100"), ("far/sampled", "sum-1002")} <= set(fit.sampled)


def test_a_fit_takes_nothing_from_an_interrupted_validation_of_its_module(run, tmp_path):
    first = run("both")
    first.trainer.callbacks.append(Stop(1))
    with pytest.raises(SystemExit):
        first.trainer.validate(first.module, datamodule=Sums(eval_batch_size=2), verbose=False)
    first.sampled.clear()
    again = Trainer(**FIT | {"default_root_dir": tmp_path / "both"})
    again.fit(first.module, datamodule=Sums(eval_batch_size=2))
    assert {("near/greedy", f"sum-{i}") for i in range(100, 105)} <= set(first.sampled)
    assert len(unfinished(tmp_path / "both")) == 1  # still there for the validation


FIT = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def test_where_nothing_can_be_kept_it_says_so_and_goes_on(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".unfinished").write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be kept: .*unfinished") as caught:
        full = run("full")
    assert len([warning for warning in caught if "cannot be kept" in str(warning.message)]) == 1
    assert full.rows() == run("whole").rows()


def test_a_component_without_a_description_keeps_nothing(run, tmp_path):
    class Local(EvenLength):
        pass

    with pytest.warns(UserWarning, match="cannot be kept: .*Local"):
        assert len(run("cut", rewards=[Local()]).sampled) == 16


def test_a_second_process_keeps_out(run, interrupted, tmp_path):
    interrupted("cut")
    (name,) = unfinished(tmp_path / "cut")
    other = hold(tmp_path / "cut" / ".unfinished" / name / "lock")
    with pytest.warns(UserWarning, match="another process runs the same evaluation"):
        alone = run("cut")
    other.communicate("")
    assert len(alone.sampled) == 16
    assert len(run("cut").sampled) == 6  # the first one's answers are still there


def hold(path):
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'ab'), fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-S", "-c", code.replace("lockf(open", "lockf(f := open"), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process
