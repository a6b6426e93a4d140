from dataclasses import dataclass

import pytest
import torch
from arithmetic import EvenLength

from mapo.modules.answers import answer_reader, categories_of, judged, samples_of
from mapo.modules.records import EvaluationRecord
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

NAN = float("nan")


@dataclass(frozen=True)
class Reading(EvenLength):
    name = "even_length"

    def answer(self, completion):
        return completion.text or None


@dataclass(frozen=True)
class Unread(Reading):
    is_accuracy: bool = False
    name = "think_format"


def prompt(sample_id: str = "a", categories: object = None) -> Prompt:
    return Prompt(sample_id, (), (), "1", {"categories": categories})


def record(*prompts: Prompt) -> EvaluationRecord:
    """Two completions each: "yes" in 2 tokens, and nothing, truncated after 3."""
    groups = tuple(
        (
            Completion(one, "", "yes", torch.arange(2), truncated=False),
            Completion(one, "", "", torch.arange(3), truncated=True),
        )
        for one in prompts
    )
    right = torch.tensor([[1.0, NAN], [0.5, 0.0]])[: len(prompts)]
    tidy = torch.tensor([[1.0, 0.0], [NAN, 1.0]])[: len(prompts)]
    accuracy, valid = right.nan_to_num(0.0), ~(right + tidy).isnan()
    scores = Scores(accuracy, accuracy == 1, accuracy, valid, {"even_length": right, "think_format": tidy})
    encoded = tuple(EncodedPrompt(one, torch.arange(3), {}, "") for one in prompts)
    return EvaluationRecord("val", "grid", "sampled", Rollouts(encoded, groups, (), 1.0), scores)


def test_a_sample_holds_its_own_completions():
    rewards = [Reading(), Unread()]
    first, second = samples_of(record(prompt("a", {"level": 1}), prompt("b")), rewards)
    assert (first.sample_id, first.accuracy, first.judged) == ("a", (1.0, 0.0), (True, False))  # failed counts as wrong
    assert (first.truncated, first.lengths, first.answers) == ((False, True), (2, 3), ("yes", None))
    assert (first.success, first.categories) == ((True, False), {"level": ("1",)})
    assert (first.components, second.components["think_format"][1]) == ({"think_format": (1.0, 0.0)}, 1.0)
    assert (second.sample_id, second.accuracy) == ("b", (0.5, 0.0))


def test_another_component_that_could_not_tell_fails_no_verdict():
    made = record(prompt("a"), prompt("b"))
    assert made.scores.valid.tolist() == [[True, False], [False, True]]
    assert judged(made.scores, [Unread(), Reading()]).tolist() == [[True, False], [True, True]]
    assert judged(made.scores, [Unread()]).tolist() == made.scores.valid.tolist()  # success


def test_a_rank_without_rows_has_no_samples():
    assert samples_of(record(), [Reading()]) == []


def test_answers_are_read_by_the_accuracy_alone_and_only_where_it_does():
    assert answer_reader([EvenLength()]) is None
    assert answer_reader([Unread()]) is None
    assert answer_reader([]) is None
    read = answer_reader([Unread(), Reading()])
    assert read(Completion(prompt(), "", "yes", torch.arange(2), truncated=False)) == "yes"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {}),
        ({}, {}),
        ({"level": 5, "subject": " algebra "}, {"level": ("5",), "subject": ("algebra",)}),
        ({"skills": ["b", "a", "b", None, ""]}, {"skills": ("a", "b")}),
        ({"level": None, "subject": "", "skills": []}, {}),
    ],
)
def test_categories_are_texts_and_what_has_no_value_is_left_out(given, found):
    assert categories_of(prompt(categories=given)) == found


def test_categories_that_are_no_mapping_are_refused_with_the_row():
    with pytest.raises(ValueError, match=r"categories of sample 'a' must map names to values.* got \['algebra'\]"):
        categories_of(prompt(categories=["algebra"]))


def test_names_of_figures_obey_no_terminal():
    (name, values), *_ = categories_of(
        Prompt("a", (), (), "1", {"categories": {"le\x1bvel": ["\ud800", "\n\u202e1"]}})
    ).items()
    assert (name, values) == (r"le\x1bvel", (r"\u202e1", r"\ud800"))
