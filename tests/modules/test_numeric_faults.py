"""Steps whose gradient is not finite change nothing, are counted and kept, and end the run only when they go on."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from arithmetic import Sums, make_module
from lightning.pytorch import Callback, Trainer

from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.experience import Experience
from mapo.modules.numeric_faults import Fault


@dataclass(frozen=True)
class Poisoned(ClippedPolicyLoss):
    """The loss, which is NaN in some of its calls."""

    calls: ClassVar[list[int]] = []
    poisoned: ClassVar[set[int]] = set()

    def __call__(self, *args):
        loss, statistics = super().__call__(*args)
        self.calls.append(len(self.calls))
        return (loss * float("nan") if self.calls[-1] in self.poisoned else loss), statistics


class Weights(Callback):
    """Keeps the weights and the logged shares of every phase."""

    def __init__(self) -> None:
        self.weights, self.skipped = [], []

    def on_train_batch_start(self, trainer, module, *_):
        self.weights.append(torch.cat([w.detach().flatten().clone() for w in module.actor.trainable_parameters()]))

    def on_train_batch_end(self, trainer, module, *_):
        self.skipped.append(float(trainer.callback_metrics["train/skipped_step_share"]))


@pytest.fixture
def fit(tmp_path, tiny_lm_path, monkeypatch):
    def run(poisoned, **settings):
        monkeypatch.setattr(Poisoned, "calls", [])
        monkeypatch.setattr(Poisoned, "poisoned", set(poisoned))
        module, kept = make_module(tiny_lm_path, loss=Poisoned(), **settings), Weights()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=False,
            callbacks=[kept],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            default_root_dir=tmp_path,
        )
        return module, kept, lambda: trainer.fit(module, datamodule=Sums())

    return run


def test_a_step_without_a_finite_gradient_changes_nothing_and_the_run_goes_on(fit, tmp_path):
    _, kept, start = fit({1})
    with pytest.warns(UserWarning, match=r"phase 1: optimizer step 1 is skipped, since the gradient alone of 'sum-"):
        start()
    assert kept.skipped == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert torch.equal(kept.weights[1], kept.weights[2])
    assert not torch.equal(kept.weights[2], kept.weights[3])
    assert kept.weights[-1].isfinite().all()
    (file,) = (tmp_path / "faults").iterdir()
    fault = Fault.read(file)
    assert (fault.phase, fault.step, fault.rank, fault.suspects) == (1, 1, 0, ())
    assert fault.rows.trained.all()
    assert {len(ids) for ids in fault.rows.token_ids} <= {1, 2, 3, 4}


def test_the_skipped_step_is_undone_to_the_last_bit(fit):
    module, _, start = fit({1})
    with pytest.warns(UserWarning, match="is skipped"):
        start()
    moments = module.trainer.optimizers[0].state.values()
    assert all(state["exp_avg"].isfinite().all() for state in moments)
    assert {int(state["step"]) for state in moments} == {5}  # of six phases


def test_too_many_in_a_row_end_the_run_with_its_weights_as_they_were(fit):
    _, kept, start = fit(range(2, 100), max_skipped_steps=1)
    with (
        pytest.warns(UserWarning, match="is skipped"),
        pytest.raises(
            FloatingPointError, match=r"not finite in 2 optimizer steps in a row, the last of them step 3.*mapo replay"
        ),
    ):
        start()
    assert torch.equal(kept.weights[2], kept.weights[3])


def test_faults_far_apart_do_not_add_up(fit):
    _, kept, start = fit({0, 2, 4}, max_skipped_steps=1)
    with pytest.warns(UserWarning, match="is skipped"):
        start()
    assert kept.skipped == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_completions_whose_log_probs_are_not_finite_are_named(fit, monkeypatch, tmp_path):
    *_, start = fit(())
    select = Experience.from_groups.__func__

    def spoilt(cls, *args, **kwargs):
        rows = select(cls, *args, **kwargs)
        spoil = [i for i, prompt in enumerate(rows.prompts) if prompt.prompt.sample_id == "sum-7"]
        advantages = rows.advantages.clone()
        advantages[spoil] = float("nan")
        object.__setattr__(rows, "advantages", advantages)
        return rows

    monkeypatch.setattr(Experience, "from_groups", classmethod(spoilt))
    with pytest.warns(
        UserWarning, match=r"since log-probs or advantages of 'sum-7' are not finite; `mapo replay .*\.pt"
    ):
        start()
    fault = Fault.read(next((tmp_path / "faults").iterdir()))
    assert fault.sample_ids == ["sum-7"]
    assert len(fault.suspects) == 4


def test_a_limit_below_zero_is_refused(tiny_lm_path):
    with pytest.raises(ValueError, match="max_skipped_steps must be >= 0"):
        make_module(tiny_lm_path, max_skipped_steps=-1)
