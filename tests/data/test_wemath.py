import json
from collections import Counter

import pytest
from datasets import Dataset, DatasetDict, Features, Value
from hub_copies import place_picture
from math_copies import WEMATH, hub_copy, official_copy, wemath

from mapo.data.gsm8k import GSM8K
from mapo.data.wemath import WeMath, choices_of
from mapo.policies.images import open_image


def read(path, **settings):
    data = WeMath(str(path), **{"instruction": ""} | settings)
    data.setup("validate")
    return data.eval_sets["wemath_testmini"]


@pytest.mark.parametrize("form", ["save_to_disk", "parquet", "named"])
def test_rows_in_the_hubs_schema(tmp_path, form):
    rows = read(hub_copy(tmp_path / "copy", "wemath", form))
    assert [row.sample_id for row in rows] == ["2steps_7-1", "2steps_7-2", "2steps_7-multi"]
    assert [row.metadata["categories"]["steps"] for row in rows] == ["one-step", "one-step", "two-step"]
    assert [row.metadata["categories"]["key"] for row in rows] == ["2steps_1", "2steps_2", "2steps_multi"]
    assert (rows[0].answer, rows[0].metadata["graded_by"]) == ("B", "letter")
    assert rows[0].metadata["choices"] == ["15π", "10π", "No correct answer"]
    options = "A. 15π\nB. 10π\nC. No correct answer"
    text = f"What is the circumference?\nOptions:\n{options}\nAnswer with the letter of the correct option."
    assert rows[0].messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": text}]
    assert open_image(rows[0].images[0]).size == (40, 20)


def test_the_hubs_schema_with_file_names(tmp_path):
    features = Features(WEMATH | {"image_path": Value("string")})
    DatasetDict(testmini=Dataset.from_list([wemath()], features=features)).save_to_disk(tmp_path)
    place_picture(tmp_path / "images" / "2steps" / "image" / "7-1.png")
    assert read(tmp_path)[0].images == (str(tmp_path / "images" / "2steps" / "image" / "7-1.png"),)


@pytest.mark.parametrize("folder", ["", "data"])
def test_rows_in_the_official_layout(tmp_path, folder):
    rows = [wemath("3steps_18", part) for part in ("1", "2", "3", "multi")]
    official_copy(tmp_path / folder, "wemath", rows)
    prompts = read(tmp_path)
    assert [row.metadata["categories"]["steps"] for row in prompts] == [*["one-step"] * 3, "three-step"]
    assert prompts[3].images == (str(tmp_path / folder / "3steps" / "image" / "18-multi.png"),)


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("A. 8;B. 12;C. 16;D. 24 ;E. 48; F. No correct answer", ["8", "12", "16", "24", "48", "No correct answer"]),
        ("A. E;B. I;C. C; D. No correct answer", ["E", "I", "C", "No correct answer"]),
        (
            "A. to Shape ;C.; B. to Shape ;C.; C. to Shape ;B.; D. None",
            ["to Shape C.", "to Shape C.", "to Shape B.", "None"],
        ),
        ("A. angle ∠AB;E.;  B. angle ∠AB;C.; C. There is none.", ["angle ∠ABE.", "angle ∠ABC.", "There is none."]),
        ("A. 1, 2; 3;B. 4", ["1, 2; 3", "4"]),
        ("yes; no", []),
        ("", []),
    ],
)
def test_options_are_parted_at_the_letters_in_order(option, choices):
    assert choices_of(option) == choices


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": None}, "'2steps_7-2': the question is empty"),
        ({"option": "15π or 10π"}, "'2steps_7-2': its option '15π or 10π' is no list"),
        ({"answer": "D"}, r"'2steps_7-2': its answer 'D' is not among its 3 choices \(A: 15π; B: 10π; C: No correct"),
        ({"answer": ""}, "'2steps_7-2': its answer '' is not among its 3 choices"),
        ({"key": "4steps_2"}, "'2steps_7-2': its key '4steps_2' is not of the form 2steps_1 or 3steps_multi"),
        ({"key": 5}, "'2steps_7-5': its key 5 is not of the form"),
        ({"image_path": None}, "'2steps_7-2': it has no picture"),
        ({"image_path": "none.png"}, "'2steps_7-2': its picture .*none.png is missing"),
        ({"ID": None, "question": ""}, "'testmini-1': the question is empty"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, row, reason):
    rows = [wemath(part="1"), wemath(part="2")]
    path = official_copy(tmp_path, "wemath", rows)
    (path / "testmini.json").write_text(json.dumps([rows[0], rows[1] | row]))
    with pytest.raises(ValueError, match=f"set 'wemath_testmini': 1 of 2 rows cannot be used. {reason}"):
        read(path)


def test_a_missing_column_mixed_types_and_no_rows_are_named(tmp_path):
    (tmp_path / "testmini.json").write_text(json.dumps([{"ID": "2steps_7", "problem": "1 + 1?"}]))
    with pytest.raises(
        ValueError, match="has no column key, question, option, answer, image_path, knowledge concept; its"
    ):
        read(tmp_path)
    official_copy(tmp_path, "wemath", [wemath(), 5])
    with pytest.raises(ValueError, match="'testmini-1': it is a int, not an object of columns"):
        read(tmp_path)
    (tmp_path / "testmini.json").write_text("[]")
    with pytest.raises(ValueError, match="set 'wemath_testmini' has no rows"):
        read(tmp_path)


def accuracies(**problems):
    """Accuracies of the rows by problem: those of the sub-problems in order, then that of the composite."""
    return {
        f"{problem}-{part}": values[i] for problem, values in problems.items() for i, part in enumerate(_parts(values))
    }


def _parts(values):
    return [*map(str, range(1, len(values))), "multi"]


def test_figures_by_hand():
    figures = WeMath("unread").figures(
        "wemath_testmini",
        accuracies(
            **{
                "2steps_1": (1.0, 1.0, 1.0),  # complete mastery
                "2steps_2": (0.75, 0.5, 1.0),  # more than half right, half right: one sub-problem wrong
                "3steps_1": (1.0, 1.0, 1.0, 0.0),  # inadequate generalization
                "3steps_2": (0.0, 1.0, 1.0, 0.25),  # insufficient knowledge
            }
        ),
    )
    assert figures["composite_problems"] == 4
    assert figures["complete_mastery_strict"] == 1 / 4
    assert figures["complete_mastery_loose"] == 2 / 4
    assert (figures["rote_memorization_strict"], figures["rote_memorization_loose"]) == (1 / 2, 0)
    assert (figures["inadequate_generalization"], figures["insufficient_knowledge"]) == (1 / 4, 1 / 4)
    assert (figures["score_strict"], figures["score_loose"]) == ((1 + 0.5) / 4, (2 + 0.5) / 4)


def test_a_problem_that_lacks_rows_is_left_out_of_the_figures():
    whole = accuracies(**{"2steps_1": (1.0, 1.0, 1.0)})
    parts = {"2steps_2-1": 1.0, "2steps_2-multi": 1.0, "3steps_1-1": 1.0, "3steps_1-2": 1.0, "testmini-7": 0.0}
    assert WeMath("unread").figures("wemath_testmini", whole | parts)["composite_problems"] == 1
    assert WeMath("unread").figures("wemath_testmini", parts) == {}


def test_figures_are_asked_of_the_benchmark_itself(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}))
    other = WeMath(str(official_copy(tmp_path / "wemath", "wemath")))
    data = GSM8K(str(tmp_path), eval_splits=["rows"], out_of_domain=[other])
    data.setup("validate")
    assert data.owner("wemath_testmini") is other
    right = {row.sample_id: 1.0 for row in data.eval_sets["wemath_testmini"]}
    assert data.owner("wemath_testmini").figures("wemath_testmini", right)["score_strict"] == 1.0


@pytest.mark.benchmark_rows
def test_real_rows(capsys, real_rows):
    source = real_rows / "wemath"
    data = WeMath(str(source))
    data.setup("validate")
    prompts = data.eval_sets["wemath_testmini"]
    rows = json.loads((source / "testmini.json").read_text())
    assert len(prompts) == len(rows) == 82
    for prompt, row in zip(prompts, rows, strict=True):
        assert prompt.images == (str(source / "images" / row["image_path"]),)
        assert min(open_image(prompt.images[0]).size) > 20
        choices = prompt.metadata["choices"]
        assert len(choices) >= 3
        assert choices[-1] == "No correct answer"
        assert all(choice and ";" not in choice for choice in choices)
    assert Counter(prompt.metadata["categories"]["steps"] for prompt in prompts) == {
        "one-step": 2 * 14 + 3 * 10,
        "two-step": 14,
        "three-step": 10,
    }
    figures = data.figures("wemath_testmini", {prompt.sample_id: 1.0 for prompt in prompts})
    assert (figures["composite_problems"], figures["score_strict"]) == (24, 1.0)
    with capsys.disabled():
        print(f"\nwemath: {len(prompts)} rows of 24 composite problems, all with real pictures")
