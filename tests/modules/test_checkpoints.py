"""Runs that end inside a phase: what is saved, and what comes of it."""

import os
import signal

import pytest
import torch
from arithmetic import Sums, make_module
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import OnExceptionCheckpoint


class Trace(Callback):
    def __init__(self) -> None:
        self.phases, self.validations = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        texts = [completion.text for group in module.last_phase.rollouts.completions for completion in group]
        self.phases.append((module.last_phase.index, [prompt.sample_id for prompt in batch], texts))

    def on_validation_end(self, trainer, module):
        self.validations.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")})


class Stops(Callback):
    """Does something at one moment of one phase, once."""

    def __init__(self, moment: str, phase: int, act) -> None:
        self.moment, self.phase, self.act = moment, phase, act

    def setup(self, trainer, module, stage):
        whole = getattr(module, self.moment)

        def stopping(*args, **kwargs):
            result = whole(*args, **kwargs)
            if module.phase_index == self.phase:
                self.act()
            return result

        setattr(module, self.moment, stopping)


def fail():
    raise RuntimeError("a wire was pulled")


def interrupt():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def fit(folder, path, *callbacks, ckpt_path=None, updates=1, **kwargs):
    trace = Trace()
    module = make_module(path, updates_per_phase=updates)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        **{"max_epochs": 2, "limit_val_batches": 0} | kwargs,
        logger=False,
        callbacks=[trace, *callbacks],
        enable_checkpointing=any(isinstance(callback, OnExceptionCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    try:
        trainer.fit(module, datamodule=Sums(eval_batch_size=3), ckpt_path=ckpt_path)
    except BaseException as error:
        return module, trace, error
    return module, trace, None


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.actor.trainable_parameters()])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_lm_path):
    """Weights and trace of the run that nothing stops, by updates per phase."""
    runs = {updates: fit(tmp_path_factory.mktemp("whole"), tiny_lm_path, updates=updates)[:2] for updates in (1, 2)}
    return {updates: (weights(module), trace) for updates, (module, trace) in runs.items()}


# An epoch has three phases.
STOPS = [("generate", 0, fail), ("phase", 2, interrupt), ("generate", 1, terminate), ("clip_gradient", 3, fail)]


@pytest.mark.parametrize(("moment", "phase", "act"), STOPS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_run_stopped_inside_a_phase_repeats_it(tmp_path, tiny_lm_path, undisturbed, moment, phase, act):
    final, expected = undisturbed[1]
    saver = OnExceptionCheckpoint(tmp_path)
    _, before, error = fit(tmp_path, tiny_lm_path, Stops(moment, phase, act), saver)
    assert isinstance(error, RuntimeError if act is fail else SystemExit)
    assert before.phases == expected.phases[:phase]
    stored = torch.load(saver.ckpt_path, weights_only=True)
    assert stored["global_step"] == phase
    resumed, after, error = fit(tmp_path, tiny_lm_path, ckpt_path=saver.ckpt_path)
    assert error is None
    assert after.phases == expected.phases[phase:]
    assert torch.equal(weights(resumed), final)


@pytest.mark.parametrize(("every", "act", "batch"), [(2, fail, 1), (2, terminate, 2), (3, fail, 3), (3, terminate, 1)])
def test_an_interrupted_validation_is_repeated_whole(tmp_path, tiny_lm_path, every, act, batch):
    settings = {"limit_val_batches": 1.0, "val_check_interval": every, "check_val_every_n_epoch": None}
    whole, expected, _ = fit(tmp_path, tiny_lm_path, **settings)
    calls = []

    def sometime():
        calls.append(1)
        if len(calls) == batch:  # of three: the two sets have two batches and one
            act()

    saver = OnExceptionCheckpoint(tmp_path)
    _, before, error = fit(tmp_path, tiny_lm_path, Stops("validation_step", every - 1, sometime), saver, **settings)
    assert isinstance(error, RuntimeError if act is fail else SystemExit)
    resumed, after, error = fit(tmp_path, tiny_lm_path, ckpt_path=saver.ckpt_path, **settings)
    assert error is None
    assert before.phases + after.phases == expected.phases
    assert before.validations + after.validations == expected.validations
    assert torch.equal(weights(resumed), weights(whole))


def test_sigterm_during_the_update_ends_the_run_after_it(tmp_path, tiny_lm_path, undisturbed):
    final, expected = undisturbed[2]
    saver = OnExceptionCheckpoint(tmp_path)
    _, before, error = fit(tmp_path, tiny_lm_path, Stops("optimize", 1, terminate), saver, updates=2)
    assert isinstance(error, SystemExit)
    assert before.phases == expected.phases[:2]
    resumed, after, _ = fit(tmp_path, tiny_lm_path, ckpt_path=saver.ckpt_path, updates=2)
    assert after.phases == expected.phases[2:]
    assert torch.equal(weights(resumed), final)


def test_the_first_rollouts_of_a_resumed_run_are_checked_too(tmp_path, tiny_lm_path, monkeypatch):
    checked = []
    monkeypatch.setattr("mapo.modules.mapo.check_first_rollouts", lambda _, rollouts, **kw: checked.append(rollouts))
    saver = OnExceptionCheckpoint(tmp_path)
    fit(tmp_path, tiny_lm_path, Stops("generate", 2, fail), saver)
    assert len(checked) == 1
    fit(tmp_path, tiny_lm_path, ckpt_path=saver.ckpt_path)
    assert len(checked) == 2


def test_nothing_half_updated_is_saved(tmp_path, tiny_lm_path):
    saver = OnExceptionCheckpoint(tmp_path)
    _, _, error = fit(tmp_path, tiny_lm_path, Stops("optimize", 1, fail), saver, updates=2)
    assert "half updated" in str(error)
    assert "a wire was pulled" in str(error.__context__)
    assert not list(tmp_path.glob("*.ckpt"))


def test_a_finished_phase_can_be_saved_by_any_callback(tmp_path, tiny_lm_path, undisturbed):
    class Saves(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if module.phase_index == 1:
                trainer.save_checkpoint(tmp_path / "kept.ckpt")

    final, expected = undisturbed[2]
    fit(tmp_path, tiny_lm_path, Saves(), updates=2)
    resumed, after, _ = fit(tmp_path, tiny_lm_path, ckpt_path=tmp_path / "kept.ckpt", updates=2)
    assert after.phases == expected.phases[2:]
    assert torch.equal(weights(resumed), final)


class Saves(Callback):
    """Saves after every phase, and breaks the run off at one."""

    def __init__(self, folder, stop=None) -> None:
        self.folder, self.stop = folder, stop

    def on_train_batch_end(self, trainer, module, *_):
        trainer.save_checkpoint(self.folder / f"{module.phase_index + 1}.ckpt")
        if module.phase_index + 1 == self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("every", [None, 2, 3])
def test_a_run_stopped_after_every_phase_is_the_undisturbed_one(tmp_path, tiny_lm_path, every):
    """Six times in a row: over an epoch's boundary, and where a validation was due."""
    settings = {} if every is None else {"limit_val_batches": 1.0, "val_check_interval": every}
    settings |= {"check_val_every_n_epoch": None} if every == 2 else {}
    whole, expected, _ = fit(tmp_path, tiny_lm_path, **settings)
    phases, validations, path = [], [], None
    for phase in range(1, 8):
        saver = Saves(tmp_path, phase)
        module, trace, error = fit(tmp_path, tiny_lm_path, saver, ckpt_path=path, **settings)
        phases, validations = phases + trace.phases, validations + trace.validations
        path = tmp_path / f"{phase}.ckpt"
    assert error is None
    assert phases == expected.phases
    assert validations == expected.validations
    assert torch.equal(weights(module), weights(whole))
