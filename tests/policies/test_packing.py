import torch

from mapo.policies.packing import Block, Run, pack, packed_length
from mapo.types import EncodedPrompt, Prompt

RAW = Prompt("row", (), (), "", {})
CPU = torch.device("cpu")


def prompt(ids, **features):
    return EncodedPrompt(RAW, torch.tensor(ids), features, "")


def count(*prompts):
    return [torch.arange(len(p.input_ids))[None] for p in prompts]


def completions(*rows):
    return [torch.tensor(row, dtype=torch.int64) for row in rows]


def test_prompt_once_and_last_tokens_left_out():
    a = prompt([1, 2, 3])
    packed = pack([a] * 3, completions([10, 11, 12], [20, 21], [30, 31]), count(a, a, a), device=CPU)
    assert packed.inputs["input_ids"].tolist() == [[1, 2, 3, 10, 11, 20, 30]]
    assert packed.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 3]]
    assert packed.blocks == (Block(0, 3, (Run(3, 1, 2), Run(5, 2, 1))),)
    # The first token is predicted by the prompt's last one, each other token by the one before it.
    assert packed.sources.tolist() == [2, 3, 4, 2, 5, 2, 6]
    assert packed.inputs["input_ids"].shape[1] == packed_length(3, [3, 2, 2])


def test_rows_of_a_prompt_need_not_be_neighbours():
    a, b = prompt([1, 2]), prompt([1, 2])
    rows = completions([5], [6, 7], [8, 9, 4])
    packed = pack([a, b, a], rows, count(a, b, a), device=CPU)
    assert packed.inputs["input_ids"].tolist() == [[1, 2, 8, 9, 1, 2, 6]]
    assert packed.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert packed.blocks == (Block(0, 2, (Run(2, 1, 2),)), Block(4, 2, (Run(6, 1, 1),)))
    assert packed.sources.tolist() == [1, 5, 6, 1, 2, 3]


def test_nothing_to_add():
    a = prompt([1, 2])
    packed = pack([a, a], completions([], [7]), count(a, a), device=CPU)
    assert packed.inputs["input_ids"].tolist() == [[1, 2]]
    assert packed.blocks == (Block(0, 2, ()),)
    assert packed.blocks[0].completions == slice(2, 2)
    assert packed.sources.tolist() == [1]


def test_completions_continue_on_all_axes():
    a = prompt([1, 2, 3, 4])
    positions = torch.tensor([[0, 1, 1, 3], [0, 1, 2, 3], [0, 2, 1, 3]])
    packed = pack([a] * 2, completions([5, 6, 7], [8]), [positions] * 2, device=CPU)
    assert packed.inputs["position_ids"].shape == (3, 1, 6)
    assert packed.inputs["position_ids"][:, 0, :4].equal(positions)
    assert packed.inputs["position_ids"][:, 0, 4:].tolist() == [[4, 5]] * 3


def test_features_come_once_and_in_order():
    a = prompt([9, 9], mm_token_type_ids=torch.tensor([[1, 1]]), pixel_values=torch.tensor([[1.0], [2.0]]))
    b = prompt([4])
    c = prompt([9, 4], mm_token_type_ids=torch.tensor([[1, 0]]), pixel_values=torch.tensor([[3.0]]))
    rows = [a, b, c, a, b, c]
    packed = pack(rows, completions(*[[5, 6]] * 6), count(*rows), device=CPU)
    assert packed.inputs["pixel_values"].flatten().tolist() == [1.0, 2.0, 3.0]
    assert packed.inputs["mm_token_type_ids"].tolist() == [[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]]
