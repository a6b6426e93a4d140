from mapo.callbacks.completion_cells import completion_cells, prompt_text
from mapo.types import Prompt


def prompt(sample_id: str, content: object = "What is x?") -> Prompt:
    return Prompt(sample_id, ({"role": "user", "content": content},), (), "2", {})


def row(sample_id: str, text: str = "x is 2", **figures: object) -> dict[str, object]:
    plain = {
        "sample_id": sample_id,
        "text": text,
        "num_tokens": 3,
        "reward": 0.5,
        "components": {"math": 1.0, "length": None},
    }
    return plain | {"success": True, "truncated": False} | figures


def test_a_table_reads_group_by_group():
    rows = [row("a", advantage=-1.25), row("a", advantage=1.25), row("b", success=False, truncated=True, advantage=0.0)]
    header, (first, second, third) = completion_cells([prompt("a"), prompt("b")], rows, max_characters=100)
    assert header == [
        *("sample", "prompt", "completion", "tokens"),
        *("math", "length", "reward", "success", "advantage", "truncated"),
    ]
    assert first == ["a", "user: What is x?", "x is 2", "3", "1", "not scored", "0.5", "yes", "-1.25", "no"]
    assert second[:2] == ["a", ""]
    assert third[:2] == ["b", "user: What is x?"]
    assert third[-3:] == ["no", "0", "yes"]


def test_an_evaluation_has_no_advantage():
    header, (line,) = completion_cells([prompt("a")], [row("a")], max_characters=100)
    assert "advantage" not in header
    assert len(line) == len(header)


def test_long_texts_are_shortened():
    _, (line,) = completion_cells([prompt("a", "y" * 500)], [row("a", "z" * 500)], max_characters=100)
    assert "".join(line).count("characters left out") == 2
    assert "z" * 67 in line[2]
    assert "z" * 68 not in line[2]


def test_a_batch_without_prompts_is_an_empty_table():
    assert completion_cells([], [], max_characters=100)[1] == []


def test_messages_are_read_with_their_roles_and_images():
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Compare."}]
    messages = ({"role": "system", "content": "Think."}, {"role": "user", "content": parts})
    assert prompt_text(Prompt("a", messages, (), "", {})) == "system: Think.\nuser: [image] [image] Compare."
