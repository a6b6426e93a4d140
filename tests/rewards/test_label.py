import itertools
import string

import pytest
import torch

from mapo.data.emotion6 import EKMAN, NEUTRAL
from mapo.data.webemo import EMOTIONS, OFFICIAL_SPELLINGS
from mapo.rewards.label import LabelMatch, named_label
from mapo.types import Completion, Prompt

MIKELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def score(text: str, *, answer: str = "sadness", reward: LabelMatch | None = None, **metadata: object) -> float | None:
    prompt = Prompt("row-7", ({"role": "user", "content": "?"},), (), answer, metadata)
    return (reward or LabelMatch(labels=MIKELS))([Completion(prompt, "", text, torch.tensor([1]), False)])[0]


FAMILIES = {
    "mikels": MIKELS,
    "webemo": [emotion.fine for emotion in EMOTIONS],
    "secondary": ["love", "joy", "confusion", "sadness", "anger", "fear", "surprise"],
    "polarity": ["positive", "negative"],
    "emotion6": [*EKMAN, NEUTRAL],
    "overlapping": ["surprise", "pleasant surprise", "unpleasant surprise", "mild pleasant"],
}
WRAPPINGS = [
    "{c}",
    "{C}.",
    "{U}!",
    "**{C}**",
    "*{c}*",
    "_{c}_",
    "`{c}`",
    '"{C}"',
    "“{c}”",
    "'{c}'",
    "({c})",
    "{C} 😢",
    "😢 {c}",
    r"\text{{{c}}}",
    r"\textbf{{\text{{{C}}}}}",
    r"$\mathrm{{{c}}}$",
    "The emotion is {c}",
    "The emotion is **{c}**.",
    "The emotion is: _{C}_",
    "Emotion: {c}",
    "emotion={c}",
    "It is {U}!",
    "I think it is {c}.",
    "the picture evokes {c}",
    '{{"emotion": "{c}"}}',
    r"\{{'emotion': '{c}', 'confidence': 0.9\}}",
    "<answer>{c}</answer>",
    "{C} - the light is dim",
    "{C}: the man stands alone",
    "{C}, because the man has no friends",
    "{C} since nobody is there, e.g. a friend",
    "{C}\n\nThe man stands alone.",
]
PAIRS = [
    "{a} or {b}",
    "{a}, {b}",
    "{a}/{b}",
    "{A} and {B}.",
    "{a} rather than {b}",
    "not {a} but {b}",
    "{a}? No, {b}",
    "{A} (and a little {b})",
    "{a}, because it lacks {b}",
    "**{a}** **{b}**",
    '["{a}", "{b}"]',
]
LETTERS = [
    "{L}",
    "{l}",
    "({L})",
    "[{L}]",
    "{L}.",
    "{L})",
    "**{L}**",
    r"\text{{{L}}}",
    r"\mathbf{{{L}}}",
    "Option {L}",
    "The answer is {L}",
    "Answer: ({L})",
    "The emotion is ({l}).",
    '{{"emotion": "{L}"}}',
    "{L}. {c}",
    "({L}) {C}",
    "{L}) **{c}**",
    "{L}: {c}",
    "{L} - {c}",
    "Option {L}: {c}",
    "{C} ({L})",
    "{c} [{L}]",
    "({L}) {c}, because nobody smiles",
    "**{L}. {C}**",
    "The answer is ({L}) {c}.",
]
DENIALS = [
    "not {c}",
    "no {c}",
    "it isn't {c}",
    "it isn’t {c}",
    "It is not {c}.",
    "never {c}",
    "neither {c} nor anything else",
    "without {c}",
    "anything but {c}",
    "non-{c}",
    "{c}-free",
    "{c} is absent",
    '{{"{c}": false}}',
    "not {c} because the man smiles",
]


def read(boxed, labels, **metadata):
    prompt = Prompt("row-7", ({"role": "user", "content": "?"},), (), labels[0], {"choices": labels} | metadata)
    return LabelMatch().answer(Completion(prompt, "", f"\\boxed{{{boxed}}}", torch.tensor([1]), False))


def named(boxed, label, labels, **metadata):
    return score(f"\\boxed{{{boxed}}}", answer=label, reward=LabelMatch(), choices=labels, **metadata)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("labels", FAMILIES.values(), ids=FAMILIES)
def test_every_class_is_found_in_the_wrapping_models_produce(labels, wrapping):
    for label in labels:
        boxed = wrapping.format(c=label, C=label.capitalize(), U=label.upper())
        assert named(boxed, label, labels) == 1.0, boxed
        assert score(f"<think>?</think> \\boxed{{{boxed}}}", answer=label, reward=LabelMatch(labels=labels)) == 1.0, (
            boxed
        )
        other = labels[labels.index(label) - 1]
        assert named(boxed, other, labels) == 0.0, boxed


@pytest.mark.parametrize("wrapping", PAIRS)
@pytest.mark.parametrize("labels", FAMILIES.values(), ids=FAMILIES)
def test_two_classes_are_never_guessed_between(labels, wrapping):
    for a, b in itertools.permutations(labels, 2):
        boxed = wrapping.format(a=a, b=b, A=a.capitalize(), B=b.capitalize())
        assert read(boxed, labels) is None, boxed


@pytest.mark.parametrize("wrapping", DENIALS)
@pytest.mark.parametrize("labels", FAMILIES.values(), ids=FAMILIES)
def test_a_denied_class_is_not_the_answer(labels, wrapping):
    for label in labels:
        boxed = wrapping.format(c=label)
        assert named(boxed, label, labels) == 0.0, boxed


@pytest.mark.parametrize("boxed", ["", " ", "fear", "sad", "sad-ness", "sadnesses", "saddness", "joy", "😢", "C or H"])
def test_another_class_or_none_is_wrong(boxed):
    assert score(f"\\boxed{{{boxed}}}") == 0.0
    assert named(boxed, "sadness", MIKELS) == 0.0


@pytest.mark.parametrize(
    "wrapping",
    LETTERS,
)
@pytest.mark.parametrize("labels", [FAMILIES[name] for name in ("mikels", "webemo", "polarity", "overlapping")])
def test_every_letter_is_read_and_must_agree_with_a_text_beside_it(labels, wrapping):
    for index, label in enumerate(labels):
        letter, wrong = (string.ascii_uppercase[i % len(labels)] for i in (index, index + 1))
        texts = {"c": label, "C": label.capitalize()}
        boxed = wrapping.format(L=letter, l=letter.lower(), **texts)
        assert named(boxed, label, labels) == 1.0, boxed
        misread = wrapping.format(L=wrong, l=wrong.lower(), **texts)
        assert named(misread, label, labels) == 0.0, misread
        beyond = wrapping.format(L="Z", l="z", **texts)
        assert named(beyond, label, labels) == 0.0, beyond


@pytest.mark.parametrize(
    "wrapping", ["{a} or {b}", "({a}), ({b})", "{a}, {b}", "{a}/{b}", "({a}) and {b}", "{a} & {b}"]
)
def test_two_letters_are_never_guessed_between(wrapping):
    for a, b in itertools.permutations("ABCDEFGH", 2):
        assert read(wrapping.format(a=a, b=b), MIKELS) is None, (a, b)


def test_a_row_may_ask_for_the_letter_or_for_the_text():
    for boxed, either, letter, text in (("H", 1, 1, 0), ("sadness", 1, 0, 1), ("H. sadness", 1, 1, 1)):
        verdicts = [named(boxed, "sadness", MIKELS, graded_by=rule) for rule in ("either", "letter", "text")]
        assert verdicts == [either, letter, text], boxed
    assert named("(A) sadness", "sadness", MIKELS, graded_by="text") == 1.0  # the letters were not ours
    assert named("(H) awe", "sadness", MIKELS, graded_by="letter") == 0.0


def test_other_spellings_of_a_row_name_their_class():
    labels = FAMILIES["webemo"]
    for spelling in ("cheerfullness", "Cheerfulness", "The emotion is cheerfullness."):
        assert named(spelling, "cheerfulness", labels, aliases=OFFICIAL_SPELLINGS) == 1.0
    assert named("cheerfullness", "cheerfulness", labels) == 0.0
    assert named("cheerfullness or zest", "cheerfulness", labels, aliases=OFFICIAL_SPELLINGS) == 0.0
    assert named("cheerfulness (cheerfullness)", "cheerfulness", labels, aliases=OFFICIAL_SPELLINGS) == 1.0


@pytest.mark.parametrize(
    ("boxed", "answer"),
    [("Sadness.", "sadness"), ("(H)", "sadness"), ("H. sadness", "sadness"), ("fear or awe", None), ("", None)],
)
def test_the_answer_read_is_the_class_in_one_spelling(boxed, answer):
    assert read(boxed, MIKELS) == answer


def test_no_answer_is_read_without_a_box_and_any_text_without_classes():
    prompt = Prompt("row-7", ({"role": "user", "content": "?"},), (), "fear", {})
    completions = [Completion(prompt, "", text, torch.tensor([1]), False) for text in ("Fear", r"\boxed{**Fear**.}")]
    assert [LabelMatch().answer(completion) for completion in completions] == [None, "fear"]


def test_a_class_may_itself_deny_something():
    labels = ["happy", "not happy", "no emotion"]
    assert named("It is not happy.", "not happy", labels) == 1.0
    assert named("It is happy.", "happy", labels) == 1.0
    assert named("no emotion", "no emotion", labels) == 1.0
    assert named("It is not no emotion.", "no emotion", labels) == 0.0


def test_a_class_may_be_written_with_underscores():
    labels = ["pleasant_surprise", "surprise"]
    assert named("Pleasant surprise", "pleasant_surprise", labels) == 1.0
    assert named("pleasant_surprise", "pleasant_surprise", labels) == 1.0
    assert named(r"\text{pleasant\_surprise}", "pleasant_surprise", labels) == 1.0
    assert named("surprise", "pleasant_surprise", labels) == 0.0


def test_a_megabyte_of_text_is_read_in_time_linear_in_it():
    for filler in ("a ", "(", "is ", "sadness ", "no-", "surprise pleasant ", "\\text{"):
        assert named(filler * (1_000_000 // len(filler)), "sadness", MIKELS) in (0.0, 1.0)


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


@pytest.mark.parametrize(("boxed", "most"), [(True, 1000), (False, 20_000)])
def test_a_longer_answer_names_no_class(boxed, most):
    for length, earned in ((most, 1.0), (most + 1, 0.0), (1_000_000, 0.0)):
        answer = "sadness".rjust(length, ".")
        text = f"\\boxed{{{answer}}}" if boxed else f"</think>{answer}"
        assert score(text, reward=LabelMatch(labels=MIKELS, require_boxed=boxed)) == earned
