import pytest
from PIL import Image

from mapo.data.rows import LazyPrompts, RowError, admit, select
from mapo.types import Prompt


def row(sample_id="a", content="1 + 1?", images=(), answer="2"):
    return Prompt(sample_id, ({"role": "user", "content": content},), images, answer, {})


def picture_row(source):
    return row(content=[{"type": "image"}, {"type": "text", "text": "Find x."}], images=(source,))


def test_rows_become_prompts_only_when_asked_for():
    made = []

    def to_prompt(index, number):
        made.append(index)
        return row(str(number))

    prompts = LazyPrompts([10, 11, 12], to_prompt)
    assert (len(prompts), made) == (3, [])
    assert [prompt.sample_id for prompt in prompts[1:]] == ["11", "12"]
    assert select(prompts, [2, 0])[1].sample_id == "10"
    assert prompts[-1].sample_id == "12"
    assert made == [1, 2, 0, 2]
    with pytest.raises(IndexError):
        prompts[3]


def test_good_rows_are_all_admitted(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "x.png")
    prompts = [row(), picture_row(tmp_path / "x.png")._replace(sample_id="b")]
    assert admit("train", prompts, "error") == (prompts, {})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(answer=" "), "the answer is empty"),
        (row(answer=7), "the answer is empty or no text \\(7\\)"),
        (row(content=" "), "the question is empty"),
        (row(images=("x.png",)), "its messages show 0 pictures, it has 1"),
        (picture_row("no/such.png"), "cannot read the image no/such.png"),
        (picture_row({"bytes": b"GIF89a", "path": "cut.gif"}), "cannot read the image cut.gif"),
    ],
)
def test_a_faulty_row_is_named_with_its_set_and_the_way_out(bad, reason):
    with pytest.raises(ValueError, match=f"set 'val': 1 of 2 rows cannot be used. 'a': {reason}.*on_bad_row='skip'"):
        admit("val", [row("good"), bad], "error")


def test_skipping_keeps_the_good_rows_and_the_reasons():
    def to_prompt(index, _):
        if index == 1:
            raise RowError("broken", "no mark")
        return row(str(index), answer="" if index == 2 else "2")

    kept, bad = admit("val", LazyPrompts(range(4), to_prompt), "skip")
    assert [prompt.sample_id for prompt in kept] == ["0", "3"]
    assert bad == {"broken": "no mark", "2": "the answer is empty or no text ('')"}


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_no_row_no_usable_row_and_a_double_id_are_errors_either_way(on_bad_row):
    with pytest.raises(ValueError, match="set 'val' has no rows; check its path and split"):
        admit("val", [], on_bad_row)
    with pytest.raises(ValueError, match=r"1 of 1 rows|none of its 1 rows"):
        admit("val", [row(answer="")], on_bad_row)
    with pytest.raises(ValueError, match="set 'val': sample id 'a' is there twice; remove one row"):
        admit("val", [row(), row()], on_bad_row)
