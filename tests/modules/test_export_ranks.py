"""Exports of runs on two ranks, with whole and with sharded weights: other software gets the policy's own logits."""

from pathlib import Path

import pytest
import ranks
import torch
from torch.nn.utils import vector_to_parameters

from mapo.export import export
from mapo.modules.export_folder import ExportFolder
from mapo.policies.policy import Lora, Policy

pytestmark = pytest.mark.slow

RUNS = {"ddp": "ddp", "sharded, one file": "fsdp2, one file", "sharded": "fsdp2", "sharded adapters": "fsdp2"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_lm_path):
    """The folder of the runs, what rank 0 saw of each, and the base model."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = {
        name: ("exported", {"path": str(tiny_lm_path), "lora": "adapters" in name}, strategy)
        for name, strategy in RUNS.items()
    }
    return folder, ranks.launch(folder, jobs)[0], tiny_lm_path


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(torch.arange(5, 25)[None]).logits


def expected(runs, name) -> torch.Tensor:
    """Return the logits of the weights that a run ended with."""
    _, seen, base = runs
    actor = Policy(path=str(base), lora=Lora(rank=2) if "adapters" in name else None).load_model(reference=False)
    vector_to_parameters(seen[name]["weights"], actor.trainable_parameters())
    return logits(actor.model)


def loaded(folder, base, *, adapters=False):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if adapters:
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("name", RUNS)
def test_callback_exports_what_the_ranks_hold_together(runs, name):
    folder, _, base = runs
    found = logits(loaded(folder / name / "export", base, adapters="adapters" in name))
    assert torch.equal(found, expected(runs, name))
    assert not torch.allclose(found, logits(loaded(base, base)), atol=1e-3)  # it did train


@pytest.mark.parametrize("name", RUNS)
def test_checkpoint_is_exported_as_a_file_or_as_a_folder_of_shards(runs, tmp_path, name):
    _, seen, base = runs
    assert Path(seen[name]["last"]).is_dir() == ("one file" not in name and name != "ddp")
    export(seen[name]["last"], ExportFolder(path=tmp_path / "model", dtype="float32"))
    found = loaded(tmp_path / "model", base, adapters="adapters" in name)
    assert torch.equal(logits(found), expected(runs, name))
