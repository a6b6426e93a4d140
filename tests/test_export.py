"""Exports of checkpoints: other software loads them and gets the policy's own numbers."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import SHORT, invoke
from lightning.pytorch import Trainer
from PIL import Image
from torch.utils.data import DataLoader

from mapo.modules.mapo import MAPOModule
from mapo.modules.supervised import SupervisedModule
from mapo.policies.builtin import builtin_path
from mapo.policies.policy import Policy
from mapo.types import Prompt

pytestmark = pytest.mark.slow

FIT = ["fit", "--config", "configs/mapo_tiny.yaml", *SHORT, "--validate_before_fit=false", "--model.optimizer.lr=0.01"]
LORA = ["--model.policy.lora.rank=4", "--trainer.logger.name=lora"]
CALLBACK = "--trainer.callbacks+=mapo.callbacks.export.HuggingFaceExport"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a fit of all weights, exported by the callback, and one of adapters have been."""
    folder = tmp_path_factory.mktemp("exports")
    exported = ["--trainer.callbacks.which=best", "--trainer.callbacks.dtype=float32"]
    for options in ([CALLBACK, *exported], LORA):
        outcome = invoke(folder, *FIT, *options)
        assert outcome.code == 0, outcome.err
    return folder


def checkpoint(folder: Path, name: str = "mapo_tiny", file: str = "last") -> Path:
    return folder / "runs" / name / "version_0" / "checkpoints" / f"{file}.ckpt"


def policy_of(path: Path):
    module = MAPOModule.load_from_checkpoint(path)
    module.configure_model()
    module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return module.actor


def inputs() -> dict:
    content = [{"type": "image"}, {"type": "text", "text": "What is the area?"}]
    picture = Image.linear_gradient("L").resize((84, 84)).convert("RGB")
    row = Prompt("0", ({"role": "user", "content": content},), (picture,), "", {})
    encoded = Policy(path="builtin").load_renderer().encode(row)
    return {"input_ids": encoded.input_ids[None], **encoded.features}


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(**inputs()).logits


def in_transformers(folder: Path):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder)


def export(folder: Path, path: Path, *options: str, output: str):
    outcome = invoke(folder, "export", "--ckpt_path", str(path), "--output", output, "--dtype", "float32", *options)
    assert outcome.code == 0, outcome.err
    return folder / output


# -- the same logits ---------------------------------------------------------------------------------------------------


def test_all_weights_give_the_policys_logits_in_plain_transformers(folder):
    path = checkpoint(folder)
    exported = in_transformers(export(folder, path, output="whole"))
    assert torch.equal(logits(exported), logits(policy_of(path).model))
    assert not torch.equal(logits(exported), logits(in_transformers(builtin_path()).float()))  # it did train


def test_adapters_load_in_peft_and_merged_ones_in_transformers(folder):
    from peft import PeftModel

    path = checkpoint(folder, "lora")
    adapters, merged = (export(folder, path, *o, output=f"lora{len(o)}") for o in ([], ["--merge"]))
    expected, base = logits(policy_of(path).model), in_transformers(builtin_path()).float()
    assert not (adapters / "config.json").exists()
    torch.testing.assert_close(logits(in_transformers(merged)), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(logits(base), expected, atol=1e-3)
    assert torch.equal(logits(PeftModel.from_pretrained(base, adapters)), expected)


def test_supervised_checkpoint_is_exported_too(tmp_path):
    demonstration = Prompt("0", ({"role": "user", "content": "What is the area?"},), (), "", {"completion": "12"})
    trainer = Trainer(accelerator="cpu", devices=1, max_steps=1, logger=False, default_root_dir=tmp_path)
    module = SupervisedModule(policy=Policy(path="builtin"), optimizer=partial(torch.optim.SGD, lr=0.1))
    trainer.fit(module, DataLoader([demonstration], collate_fn=list))
    trainer.save_checkpoint(tmp_path / "supervised.ckpt")
    exported = in_transformers(export(tmp_path, tmp_path / "supervised.ckpt", output="supervised"))
    assert torch.equal(logits(exported), logits(module.actor.model))
    assert not torch.equal(logits(exported), logits(in_transformers(builtin_path()).float()))


def test_checkpoint_with_adapters_alone_takes_the_rest_from_the_base_model(folder, tmp_path):
    stored = torch.load(checkpoint(folder, "lora"), weights_only=True)
    stored["state_dict"] = {name: weight for name, weight in stored["state_dict"].items() if "lora_" in name}
    torch.save(stored, tmp_path / "adapters.ckpt")
    merged = export(tmp_path, tmp_path / "adapters.ckpt", "--merge", output="merged")
    expected = logits(policy_of(checkpoint(folder, "lora")).model)
    torch.testing.assert_close(logits(in_transformers(merged)), expected, rtol=0, atol=1e-5)


# -- what comes with the weights ---------------------------------------------------------------------------------------


def test_export_has_all_files_of_the_base_model_and_a_card(folder):
    exported = export(folder, checkpoint(folder), output="complete")
    assert {path.name for path in exported.iterdir()} == {"README.md", *(p.name for p in builtin_path().iterdir())}
    assert (exported / "preprocessor_config.json").read_text() == (
        builtin_path() / "preprocessor_config.json"
    ).read_text()
    card = (exported / "README.md").read_text()
    for words in ("after 2 training steps", "| grid_rectangles | sampled |", "group_size: 4", "Strict matches"):
        assert words in card
    assert "not of these weights" not in card


def test_callback_exports_the_best_checkpoint_when_fit_ends(folder):
    run = checkpoint(folder).parents[1]
    best = run / "checkpoints" / "step-2.ckpt"
    assert torch.equal(logits(in_transformers(run / "export")), logits(policy_of(best).model))
    assert "| grid_rectangles | sampled |" in (run / "export" / "README.md").read_text()  # of this run's results.json


def test_card_says_when_its_figures_are_of_other_weights(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    results = json.loads((checkpoint(folder).parents[1] / "results.json").read_text())
    for figures in results["sets"].values():
        figures["accuracy"]["after_phase"] = 5
    (run / "results.json").write_text(json.dumps(results))
    (run / "last.ckpt").symlink_to(checkpoint(folder))
    card = (export(tmp_path, run / "last.ckpt", output="model") / "README.md").read_text()
    assert "not of these weights" in card
    assert "after step 2, 5, they are those after step 2" in card


def test_push_uploads_the_folder_to_a_private_repository(folder, tmp_path, monkeypatch):
    """No Hub is asked: what is tested is what the Hub's client is told."""
    told = []
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda _, repo, **given: told.append((repo, given)))
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", lambda _, **given: told.append(given))
    exported = export(tmp_path, checkpoint(folder), "--push_to_hub", "me/mine", output="pushed")
    assert told[0] == ("me/mine", {"private": True, "exist_ok": True})
    assert (told[1]["repo_id"], told[1]["folder_path"]) == ("me/mine", exported)
    assert (exported / "model.safetensors").is_file()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_export_replaces_another_only_when_told(folder, tmp_path):
    exported = export(tmp_path, checkpoint(folder, "lora"), output="model")
    again = ["export", "--ckpt_path", str(checkpoint(folder)), "--output", "model"]
    assert "already holds a model; name another folder, or set overwrite" in invoke(tmp_path, *again).error
    assert invoke(tmp_path, *again, "--overwrite").code == 0
    assert not list(exported.glob("adapter_*"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    again[-1] = "notes"
    assert "holds other files than a model's" in invoke(tmp_path, *again, "--overwrite").error
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


def test_what_cannot_be_exported_is_refused_in_one_line(folder, tmp_path, tiny_vl_path):
    path = str(checkpoint(folder))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": {"layer.weight": torch.ones(1)}}, tmp_path / "other.ckpt")
    stored = torch.load(path, weights_only=True)
    stored["hyper_parameters"]["policy"]["trust_remote_code"] = True
    torch.save(stored, tmp_path / "code.ckpt")
    (tmp_path / "run").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "__0_0.distcp").touch()
    for given, words in (
        (["--ckpt_path", "none.ckpt"], "none.ckpt does not exist"),
        (["--ckpt_path", "text.ckpt"], "the checkpoint text.ckpt is damaged: "),
        (["--ckpt_path", "other.ckpt"], "holds no policy"),
        (["--ckpt_path", "code.ckpt"], "asks to run the code that the model at 'builtin' brings"),
        (["--ckpt_path", "shards"], "the checkpoint shards is damaged: it has no .metadata"),
        (["--ckpt_path", "run"], "run is a folder; name a checkpoint in it"),
        (["--ckpt_path", path, "--base_model", str(tiny_vl_path)], "weights are not those of"),
        (["--ckpt_path", path, "--dtype", "int8"], "invalid choice: 'int8'"),
        ([], "required: --ckpt_path"),
    ):
        assert words in invoke(tmp_path, "export", "--output", "model", *given).error
    assert not (tmp_path / "model").exists()
