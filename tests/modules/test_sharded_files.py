import torch
from torch.distributed import checkpoint

from mapo.modules.sharded_files import as_one_file, read_sharded_weights


def test_weights_are_read_without_a_process_group_and_the_rest_is_left(tmp_path):
    state = {
        "state_dict": {
            "actor.weight": torch.arange(6.0).reshape(2, 3),
            "actor.half": torch.ones(2, dtype=torch.bfloat16),
        },
        "optimizer_0": {"state": {"actor.weight": {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]},
    }
    checkpoint.save(state, checkpoint_id=tmp_path, no_dist=True)
    torch.save({"epoch": 3, "hyper_parameters": {"seed": 1}}, tmp_path / "meta.pt")
    weights = read_sharded_weights(tmp_path)
    assert weights.keys() == state["state_dict"].keys()
    for name, weight in state["state_dict"].items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=0)
    whole = torch.load(as_one_file(tmp_path), weights_only=True)
    assert (whole["epoch"], whole["hyper_parameters"], whole["state_dict"].keys()) == (3, {"seed": 1}, weights.keys())
