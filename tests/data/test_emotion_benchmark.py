import pytest
from PIL import Image

from mapo.data.emotion_benchmark import EmotionBenchmark
from mapo.data.rows import RowError


class Moods(EmotionBenchmark):
    labels = ("calm", "tense")

    def to_prompt(self, sample_id, row):
        return self.ask(sample_id, row["label"], [row["image"]], **row.get("more", {}))


@pytest.fixture
def moods(tmp_path):
    Image.new("RGB", (5, 6)).save(tmp_path / "a.png")
    return Moods(str(tmp_path), instruction="")


def test_the_picture_comes_before_a_question_that_names_every_class(moods, tmp_path):
    row = moods.to_prompt("r", {"label": "calm", "image": "a.png"})
    text = "Which emotion does the picture evoke? Choose from calm, tense."
    assert row.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": text}]
    assert (row.images, row.answer) == ((str(tmp_path / "a.png"),), "calm")
    assert row.metadata == {"choices": ("calm", "tense"), "categories": {"label": "calm"}}


def test_a_benchmark_may_ask_in_its_own_words_and_add_columns(moods):
    more = {"question": "Calm or tense? <image>", "categories": {"place": "sea"}, "graded_by": "text"}
    row = moods.to_prompt("r", {"label": "tense", "image": "a.png", "more": more})
    assert row.messages[0]["content"] == [{"type": "text", "text": "Calm or tense? "}, {"type": "image"}]
    assert row.metadata["categories"] == {"label": "tense", "place": "sea"}
    assert row.metadata["graded_by"] == "text"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": "glad", "image": "a.png"}, "its label 'glad' is none of the classes calm, tense"),
        ({"label": "calm", "image": "b.png"}, r"its picture .*b\.png is missing"),
        ({"label": "calm", "image": None}, "it has no picture"),
    ],
)
def test_an_unknown_class_and_a_missing_picture_are_faults_of_the_row(moods, row, reason):
    with pytest.raises(RowError, match=f"'r': {reason}"):
        moods.to_prompt("r", row)


def test_the_file_of_a_split_is_found_by_its_ending(moods, tmp_path):
    assert moods.split_file("test", ".csv") is None
    (tmp_path / "test.csv").touch()
    assert moods.split_file("test", ".csv") == tmp_path / "test.csv"
    with pytest.raises(ValueError, match=r"has no train\.csv; its splits are test"):
        moods.split_file("train", ".csv")
    with pytest.raises(ValueError, match=r"is no folder\. Moods is not on the Hugging Face Hub"):
        Moods(str(tmp_path / "gone")).split_file("test", ".csv")
