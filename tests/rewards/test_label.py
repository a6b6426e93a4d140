import pytest
import torch

from mapo.rewards.label import LabelMatch, named_label
from mapo.types import Completion, Prompt

MIKELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def score(text: str, *, answer: str = "sadness", reward: LabelMatch | None = None, **metadata: object) -> float | None:
    prompt = Prompt("row-7", ({"role": "user", "content": "?"},), (), answer, metadata)
    return (reward or LabelMatch(labels=MIKELS))([Completion(prompt, "", text, torch.tensor([1]), False)])[0]


@pytest.mark.parametrize(
    "boxed",
    ["sadness", "Sadness", "Sadness.", r"\text{sadness}", "The emotion is sadness", "It is SADNESS!", "**sadness**"],
)
def test_the_class_is_found_in_the_wrapping_models_produce(boxed):
    assert score(f"<think>fear?</think> So \\boxed{{{boxed}}}") == 1.0


@pytest.mark.parametrize(
    "boxed",
    ["", "fear", "sad", "sadness or fear", "sadness, fear", "not sadness", "it isn't sadness", "sadnesses", "joy"],
)
def test_another_class_two_classes_or_a_denial_are_wrong(boxed):
    assert score(f"\\boxed{{{boxed}}}") == 0.0


def test_the_last_box_counts_and_an_answer_outside_does_not():
    assert score(r"\boxed{sadness} no, \boxed{fear}") == 0.0
    assert score(r"\boxed{fear} no, \boxed{sadness}") == 1.0
    assert score("<think>tears</think> sadness") == 0.0
    assert score(r"\boxed{sadness") == 0.0


def test_without_a_box_the_text_after_the_thought_is_read_if_asked_for():
    lenient = LabelMatch(labels=MIKELS, require_boxed=False)
    assert score("<think>fear?</think> The emotion is sadness.", reward=lenient) == 1.0
    assert score("<think>sadness</think> fear", reward=lenient) == 0.0
    assert score(r"sadness \boxed{fear}", reward=lenient) == 0.0


@pytest.mark.parametrize(
    ("boxed", "value"),
    [("B", 1.0), ("(B)", 1.0), ("B. sadness", 1.0), ("A", 0.0), ("(A) sadness", 0.0), ("D", 0.0), ("sadness", 1.0)],
)
@pytest.mark.parametrize("answer", ["sadness", "B"])
def test_letters_and_texts_of_choices(boxed, value, answer):
    choices = ["joy", "sadness", "fear"]
    assert score(f"\\boxed{{{boxed}}}", answer=answer, reward=LabelMatch(), choices=choices) == value


def test_without_classes_only_the_class_itself_is_right():
    assert score(r"\boxed{Sadness.}", reward=LabelMatch()) == 1.0
    assert score(r"\boxed{sadness or joy}", reward=LabelMatch()) == 0.0
    assert score(r"\boxed{None}", answer="joy", reward=LabelMatch()) == 0.0


def test_no_box_never_equals_an_answer_that_reads_none():
    assert score("I cannot tell", answer="None", reward=LabelMatch()) == 0.0


def test_the_longest_class_is_read():
    assert named_label("a pleasant surprise!", labels=["surprise", "pleasant surprise"]) == "pleasant surprise"


def test_a_row_whose_answer_is_no_class_is_an_error():
    with pytest.raises(ValueError, match="answer 'joy' of sample 'row-7' is none of the classes"):
        score(r"\boxed{joy}", answer="joy")


@pytest.mark.parametrize("labels", [[], ["joy", "Joy"], [""]])
def test_impossible_labels_are_refused(labels):
    with pytest.raises(ValueError, match="labels must name at least one class"):
        LabelMatch(labels=labels)


def test_the_defaults_are_the_papers():
    reward = LabelMatch()
    assert (reward.name, reward.weight, reward.required_for_success, reward.is_accuracy) == (
        "label_match",
        0.9,
        True,
        True,
    )
