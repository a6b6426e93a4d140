"""What a checkpoint says of its origin, and what it leaves out."""

import functools

import pytest
import torch
from arithmetic import Sums, make_module
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mapo.modules.mapo import MAPOModule
from mapo.modules.provenance import check_frozen
from mapo.policies.policy import Lora, Policy

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def fit(folder, module, *, steps, ckpt_path=None):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    saver = ModelCheckpoint(folder, filename="{step}", auto_insert_metric_name=False, every_n_train_steps=steps)
    limits = {"max_steps": steps, "limit_val_batches": 0, "logger": False, "default_root_dir": folder}
    trainer = Trainer(accelerator="cpu", devices=1, callbacks=[saver], **quiet, **limits)
    trainer.fit(module, datamodule=Sums(), ckpt_path=ckpt_path)
    return torch.load(folder / f"{steps}.ckpt", weights_only=True)


def adapted(path, rank=2):
    return make_module(path, policy=Policy(path=str(path), lora=Lora(rank=rank)), optimizer=SGD, kl_coef=0.1)


@pytest.fixture
def half(tmp_path, tiny_lm_path):
    return fit(tmp_path, adapted(tiny_lm_path), steps=2)


def test_adapters_alone_are_saved_and_a_run_goes_on_from_them(tmp_path, tiny_lm_path, half):
    assert half["state_dict"]
    assert all("lora_" in name for name in half["state_dict"])
    (states,) = half["optimizer_states"]
    assert len(states["state"]) == len(half["state_dict"])
    whole = fit(tmp_path / "whole", adapted(tiny_lm_path), steps=4)
    resumed = fit(tmp_path, adapted(tiny_lm_path), steps=4, ckpt_path=tmp_path / "2.ckpt")
    for name, weight in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], weight), name
    module = MAPOModule.load_from_checkpoint(tmp_path / "2.ckpt")
    loaded = module.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in half["state_dict"].items())


def test_a_model_that_has_changed_under_its_adapters_is_refused(tmp_path, tiny_lm_path, half):
    module = adapted(tiny_lm_path)
    module.configure_model()
    with torch.no_grad():
        next(weight for weight in module.actor.parameters() if not weight.requires_grad).add_(1)
    with pytest.raises(ValueError, match="has changed since the checkpoint was written"):
        fit(tmp_path, module, steps=4, ckpt_path=tmp_path / "2.ckpt")


def test_another_model_is_refused_in_one_line(tmp_path, tiny_lm_path, half):
    with pytest.raises(
        ValueError, match=r"another model than model.policy describes: actor.*\(2, 96\) there, \(4, 96\)"
    ):
        fit(tmp_path, adapted(tiny_lm_path, rank=4), steps=4, ckpt_path=tmp_path / "2.ckpt")
    with pytest.raises(ValueError, match=r"lora_A.* is none of this model's, and \d+ more|is missing, and \d+ more"):
        fit(tmp_path, make_module(tiny_lm_path), steps=4, ckpt_path=tmp_path / "2.ckpt")


def test_a_reference_is_known_by_its_weights(tmp_path, tiny_lm_path):
    stored = fit(tmp_path, make_module(tiny_lm_path, kl_coef=0.1), steps=1)["written_by"]
    assert len(stored["frozen"]) == 16
    assert fit(tmp_path / "none", make_module(tiny_lm_path), steps=1)["written_by"]["frozen"] is None
    check_frozen("m", stored, stored["frozen"])
    check_frozen("m", {}, stored["frozen"])
    with pytest.raises(ValueError, match="the model at 'm' has changed"):
        check_frozen("m", stored, "0" * 16)


def test_other_versions_and_ranks_are_said(tmp_path, tiny_lm_path, monkeypatch, caplog):
    fit(tmp_path, make_module(tiny_lm_path), steps=1)
    stored = torch.load(tmp_path / "1.ckpt", weights_only=True)
    stored["written_by"] |= {"ranks": 2, "versions": {"mapo": "0.0.1"}}
    torch.save(stored, tmp_path / "1.ckpt")
    caplog.set_level("INFO", logger="lightning.pytorch")
    fit(tmp_path, make_module(tiny_lm_path), steps=2, ckpt_path=tmp_path / "1.ckpt")
    assert "the checkpoint was written with mapo 0.0.1, this is" in caplog.text
    assert "the checkpoint was written on 2 ranks, this run has 1: the same completions" in caplog.text
