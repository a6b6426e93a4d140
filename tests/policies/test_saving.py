import json

import pytest
import torch

from mapo.policies.builtin import builtin_path
from mapo.policies.policy import Lora, Policy
from mapo.policies.saving import save_policy
from mapo.types import Prompt


def logprobs(actor) -> torch.Tensor:
    row = Prompt("0", ({"role": "user", "content": "What is the area?"},), (), "", {})
    with torch.no_grad():
        scores = actor.score([actor.renderer.encode(row)], [actor.renderer.encode_completion("12")], temperature=1.0)
    return scores.logprobs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_folder_holds_all_the_files_and_says_its_precision(tmp_path, dtype: str) -> None:
    folder = save_policy(Policy(path="builtin").load_model(reference=False), tmp_path / "saved", dtype=dtype)
    assert {path.name for path in folder.iterdir()} == {path.name for path in builtin_path().iterdir()}
    config = json.loads((folder / "config.json").read_text())
    assert {config["dtype"], config["text_config"]["dtype"], config["vision_config"]["dtype"]} == {dtype}


def test_saving_leaves_the_policy_as_it_is(tmp_path) -> None:
    actor = Policy(path="builtin").load_model(reference=False)
    before = {name: weight.clone() for name, weight in actor.model.state_dict().items()}
    save_policy(actor, tmp_path / "saved")
    assert all(torch.equal(weight, before[name]) for name, weight in actor.model.state_dict().items())
    assert next(actor.parameters()).dtype == torch.float32


def test_adapters_are_merged_into_the_saved_weights(tmp_path) -> None:
    actor = Policy(path="builtin", lora=Lora(rank=2)).load_model(reference=False)
    with torch.no_grad():
        for parameter in actor.trainable_parameters():
            parameter.add_(0.05)
    again = Policy(path=str(save_policy(actor, tmp_path / "saved", dtype="float32"))).load_model(reference=False)
    torch.testing.assert_close(logprobs(again), logprobs(actor), rtol=0, atol=1e-4)
    base = Policy(path="builtin").load_model(reference=False)
    assert (logprobs(base) - logprobs(actor)).abs().max() > 1e-2


def test_a_saved_folder_can_be_saved_onto_itself(tmp_path) -> None:
    folder = save_policy(Policy(path="builtin").load_model(reference=False), tmp_path / "saved")
    names = {path.name for path in folder.iterdir()}
    save_policy(Policy(path=str(folder)).load_model(reference=False), folder)
    assert {path.name for path in folder.iterdir()} == names
