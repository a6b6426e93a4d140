"""The loaders inside a real Trainer: what is drawn over a whole run, undisturbed and resumed."""

import json

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from mapo.data.base import PromptDataModule


class Sums(PromptDataModule):
    def __init__(self, num=14, **kwargs):
        super().__init__(**kwargs)
        self.num = num

    @override
    def train_prompts(self):
        return [self.prompt(f"train-{i}", f"{i} + 1?", str(i + 1)) for i in range(self.num)]

    @override
    def eval_prompts(self):
        sets = {"near": 5, "far": 2}
        return {
            name: [self.prompt(f"{name}-{i}", f"{i} + 2?", str(i + 2)) for i in range(n)] for name, n in sets.items()
        }


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.phases, self.evaluated = [], []

    @override
    def training_step(self, batch, batch_idx):
        self.phases.append([prompt.sample_id for prompt in batch])
        for _ in range(2):  # several optimizer steps per phase, as the paper has
            self.manual_backward((self.weight - 1) ** 2)
            self.optimizers().step()

    @override
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.evaluated += [(dataloader_idx, prompt.sample_id) for prompt in batch]

    test_step = predict_step = validation_step

    @override
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, *callbacks, **kwargs):
    defaults = {"max_epochs": 3, "accelerator": "cpu", "devices": 1, "logger": False, "num_sanity_val_steps": 0}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    return Trainer(**(defaults | quiet | kwargs), callbacks=list(callbacks), enable_checkpointing=bool(callbacks))


def fit(folder, *callbacks, ckpt_path=None, data=None, **kwargs):
    module = Recorder()
    trainer(folder, *callbacks, **kwargs).fit(
        module, datamodule=data or Sums(batch_size=4), ckpt_path=ckpt_path, weights_only=True
    )
    return module


def every_phase(folder):
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)


EVERY_PHASE = {"every_n_train_steps": 2}
EVERY_EPOCH = {"every_n_epochs": 1, "save_on_train_epoch_end": True}
AFTER_VALIDATION = {"save_on_train_epoch_end": False}


@pytest.mark.parametrize("when", [EVERY_PHASE, EVERY_EPOCH, AFTER_VALIDATION], ids=["phase", "epoch", "validation"])
@pytest.mark.parametrize("limits", [{}, {"limit_train_batches": 2}, {"val_check_interval": 2}], ids=str)
def test_a_run_resumed_from_any_checkpoint_draws_the_same_prompts(tmp_path, when, limits):
    saved = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **when)
    whole = fit(tmp_path, saved, **limits).phases
    assert len(whole) == 3 * limits.get("limit_train_batches", 3)
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) >= 3
    for path in checkpoints:
        done = int(path.stem.removeprefix("step=")) // 2
        assert fit(tmp_path / "resumed", ckpt_path=path, **limits).phases == whole[done:], path.name


def test_a_run_stopped_twice_draws_the_same_prompts(tmp_path):
    whole = fit(tmp_path / "whole").phases
    drawn = fit(tmp_path, every_phase(tmp_path), max_steps=4).phases
    drawn += fit(tmp_path, every_phase(tmp_path), max_steps=12, ckpt_path=tmp_path / "step=4.ckpt").phases
    drawn += fit(tmp_path, ckpt_path=tmp_path / "step=12.ckpt").phases
    assert drawn == whole


def test_resuming_on_changed_data_is_an_error(tmp_path):
    fit(tmp_path, every_phase(tmp_path), max_steps=2)
    with pytest.raises(
        ValueError, match=r"changed .*\(rows is 15, was 14; fingerprint is .*data.on_changed_rows=continue"
    ):
        fit(tmp_path, ckpt_path=tmp_path / "step=2.ckpt", data=Sums(num=15, batch_size=4))


def test_changed_data_is_gone_on_with_where_that_is_asked_for(tmp_path):
    fit(tmp_path, every_phase(tmp_path), max_steps=2)
    data = Sums(num=15, batch_size=4, on_changed_rows="continue")
    with pytest.warns(UserWarning, match=r"others than the checkpoint's \(15 now, 14 then\)"):
        phases = fit(tmp_path, ckpt_path=tmp_path / "step=2.ckpt", data=data).phases
    assert phases == fit(tmp_path, data=Sums(num=15, batch_size=4)).phases[1:]
    data = Sums(batch_size=2, on_changed_rows="continue")
    with pytest.raises(ValueError, match=r"\(batch_size is 2, was 4\).*restore these arguments, or start a new run"):
        fit(tmp_path, ckpt_path=tmp_path / "step=2.ckpt", data=data)


def test_overfit_batches_repeats_one_phase(tmp_path):
    phases = fit(tmp_path, overfit_batches=1).phases
    assert phases == [[f"train-{i}" for i in range(4)]] * 3


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_every_evaluation_row_is_read_once_under_its_sets_number(tmp_path, stage):
    module, data = Recorder(), Sums(batch_size=4, eval_batch_size=2)
    getattr(trainer(tmp_path), stage)(module, datamodule=data)
    assert data.eval_names == ["near", "far"]
    assert module.evaluated == [(0, f"near-{i}") for i in range(5)] + [(1, f"far-{i}") for i in range(2)]


def test_the_sanity_check_reads_a_few_batches_and_no_training_row(tmp_path):
    module = Recorder()
    data = Sums(batch_size=4, eval_batch_size=2)
    trainer(tmp_path, num_sanity_val_steps=1, max_epochs=1, limit_train_batches=1, limit_val_batches=1).fit(
        module, data
    )
    assert module.evaluated == [(0, "near-0"), (0, "near-1"), (1, "far-0"), (1, "far-1")] * 2
    assert module.phases == fit(tmp_path, limit_train_batches=1, max_epochs=1).phases


class Reporter(Recorder):
    """Leaves what it saw in a file per rank: the processes of a spawned strategy return nothing."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    @override
    def on_fit_end(self):
        seen = {"phases": self.phases, "evaluated": self.evaluated}
        (self.folder / f"{self.global_rank}.json").write_text(json.dumps(seen))


@pytest.mark.slow
def test_two_ranks_share_the_rows_of_one(tmp_path):
    data = Sums(batch_size=4, eval_batch_size=4)
    trainer(tmp_path, devices=2, strategy="ddp_spawn", max_epochs=2).fit(Reporter(tmp_path), data)
    alone = fit(tmp_path, max_epochs=2)
    for rank in range(2):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert seen["phases"] == [phase[rank::2] for phase in alone.phases]
        near, far = [f"near-{i}" for i in range(5)][rank::2], [f"far-{i}" for i in range(2)][rank::2]
        assert seen["evaluated"] == 2 * ([[0, i] for i in near] + [[1, i] for i in far])


class TrainOnly(Sums):
    @override
    def eval_prompts(self):
        return {}


def test_a_benchmark_without_evaluation_sets_trains(tmp_path):
    module = fit(tmp_path, data=TrainOnly(batch_size=4), max_epochs=1)
    assert (len(module.phases), module.evaluated) == (3, [])
