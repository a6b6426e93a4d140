import pytest
import torch

from mapo.policies.batching import collate, next_position, prompt_positions
from mapo.policies.policy import Policy


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False)


@pytest.fixture(scope="module")
def encoded(policy, make_prompt):
    prompts = [make_prompt("one", (84, 84)), make_prompt("no picture"), make_prompt("two", (60, 200), (30, 30))]
    return [policy.renderer.encode(prompt) for prompt in prompts]


@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_are_those_of_the_model_on_the_whole_sequence(policy, encoded, side):
    completions = [torch.tensor([5, 6, 7]), torch.tensor([], dtype=torch.int64), torch.tensor([5])]
    network = policy.model.model
    batch = collate(
        encoded, completions, prompt_positions(network, encoded), pad_id=1, side=side, device=torch.device("cpu")
    )
    expected, _ = network.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], batch["image_grid_thw"], attention_mask=batch["attention_mask"]
    )
    kept = batch["attention_mask"].bool()
    assert torch.equal(batch["position_ids"][:, kept], expected[:, kept])
    assert batch["mm_token_type_ids"].shape == batch["input_ids"].shape


def test_padding_lies_on_the_side_asked_for(policy, encoded):
    completions = [torch.tensor([5, 6]), torch.tensor([7]), torch.tensor([8])]
    positions = prompt_positions(policy.model.model, encoded)
    for side, column in (("left", -1), ("right", 0)):
        batch = collate(encoded, completions, positions, pad_id=1, side=side, device=torch.device("cpu"))
        assert batch["attention_mask"][:, column].all()
        rows = [row[mask.bool()] for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
        for row, prompt, completion in zip(rows, encoded, completions, strict=True):
            assert torch.equal(row, torch.cat([prompt.input_ids, completion]))


def test_image_features_follow_the_rows(policy, encoded):
    rows = [encoded[2], encoded[1], encoded[2], encoded[0]]
    nothing = [torch.tensor([], dtype=torch.int64)] * 4
    batch = collate(
        rows, nothing, prompt_positions(policy.model.model, rows), pad_id=1, side="left", device=torch.device("cpu")
    )
    grids = [encoded[2].features["image_grid_thw"]] * 2 + [encoded[0].features["image_grid_thw"]]
    assert torch.equal(batch["image_grid_thw"], torch.cat(grids))
    assert len(batch["pixel_values"]) == batch["image_grid_thw"].prod(-1).sum()


def test_text_model_counts_on_one_axis(tiny_lm_path, make_prompt):
    policy = Policy(path=str(tiny_lm_path)).load_model(reference=False)
    prompt = policy.renderer.encode(make_prompt("hi"))
    (positions,) = policy.positions([prompt])
    assert positions.tolist() == [list(range(len(prompt.input_ids)))]
    assert next_position(positions) == len(prompt.input_ids)
    batch = collate([prompt], [torch.tensor([3])], [positions], pad_id=1, side="right", device=torch.device("cpu"))
    assert batch["position_ids"].shape == batch["input_ids"].shape
