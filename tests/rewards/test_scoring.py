from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from mapo.rewards.base import Reward
from mapo.rewards.scoring import check_rewards, score_completions
from mapo.types import Completion, Prompt


def completion(text: str, sample_id: str = "row-1") -> Completion:
    prompt = Prompt(sample_id, ({"role": "user", "content": "?"},), (), "", {})
    return Completion(prompt, "", text, torch.tensor([1]), False)


@dataclass(frozen=True)
class Read(Reward):
    """Reads its value from one field of the completion's text."""

    column: int = 0
    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = False

    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        cells = [c.text.split()[self.column] for c in completions]
        return [None if cell == "None" else float(cell) for cell in cells]


class Accuracy(Read):
    pass


class Format(Read):
    pass


class Credit(Read):
    pass


def paper() -> list[Reward]:
    return [Accuracy(0, weight=0.9, is_accuracy=True), Format(1, weight=0.1)]


def test_total_success_and_accuracy_by_hand():
    groups = [[completion("1 1"), completion("1 0")], [completion("0 1"), completion("0 0")]]
    scores = score_completions(paper(), groups)
    # .9 * 1 + .1 * 1 = 1;  .9;  .1;  0
    torch.testing.assert_close(scores.rewards, torch.tensor([[1.0, 0.9], [0.1, 0.0]]), rtol=0, atol=0)
    assert scores.success.tolist() == [[True, False], [False, False]]
    assert scores.accuracy.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert scores.valid.all()
    assert scores.components["format"].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert scores.rewards.dtype == scores.accuracy.dtype == torch.float32


def test_weights_are_shares():
    groups = [[completion("1 .25"), completion("0 .75")]]
    few, many = (
        score_completions([Accuracy(0, weight=0.9 * k), Format(1, weight=0.1 * k)], groups).rewards for k in (1, 30)
    )
    torch.testing.assert_close(few, many)
    assert few[0, 0].item() == pytest.approx(0.925)


def test_a_component_that_is_not_required_leaves_success_alone():
    rewards = [Accuracy(0, is_accuracy=True), Credit(1, required_for_success=False)]
    scores = score_completions(rewards, [[completion("1 .5"), completion(".5 1")]])
    assert scores.success.tolist() == [[True, False]]


def test_none_is_neither_right_nor_wrong():
    scores = score_completions(paper(), [[completion("None 1"), completion("1 None"), completion("1 1")]])
    assert scores.valid.tolist() == [[False, False, True]]
    assert scores.rewards.tolist() == [[0.0, 0.0, 1.0]]
    assert scores.success.tolist() == [[False, False, True]]
    assert scores.accuracy.tolist() == [[0.0, 1.0, 1.0]]  # a failed verdict counts as wrong in metrics
    assert scores.components["accuracy"].isnan().tolist() == [[True, False, False]]


def test_accuracy_is_success_where_no_component_is_the_accuracy():
    scores = score_completions([Accuracy(0), Format(1)], [[completion("1 1"), completion("1 0")]])
    assert scores.accuracy.tolist() == [[1.0, 0.0]]


def test_each_component_is_called_once_with_all_completions():
    sizes = []

    class Counting(Read):
        def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
            sizes.append(len(completions))
            return super().__call__(completions)

    score_completions([Counting()], [[completion("1")] * 3] * 2)
    assert sizes == [6]


def test_no_groups_give_empty_scores():
    assert score_completions(paper(), []).rewards.shape == (0, 0)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_that_is_no_number_is_said_and_not_scored(value):
    with pytest.warns(UserWarning, match=rf"'format' returned {value} for sample 'seven'.*\(1 of 2 completions\)"):
        scores = score_completions(paper(), [[completion("1 1"), completion(f"1 {value}", "seven")]])
    assert scores.valid.tolist() == [[True, False]]
    assert scores.rewards.tolist() == [[1.0, 0.0]]
    assert scores.success.tolist() == [[True, False]]


@pytest.mark.parametrize("value", ["1.5", "-0.1"])
def test_a_value_outside_the_unit_interval_is_refused_by_name(value):
    with pytest.raises(ValueError, match=rf"reward 'format' returned {value} for sample 'seven'"):
        score_completions(paper(), [[completion("1 1"), completion(f"1 {value}", "seven")]])


def test_a_wrong_number_of_values_is_refused():
    class Short(Read):
        def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
            return [1.0]

    with pytest.raises(ValueError, match="'short' returned 1 values for 2 completions"):
        score_completions([Short()], [[completion("1"), completion("1")]])


def test_ragged_groups_are_refused():
    with pytest.raises(ValueError, match=r"one size, got \[1, 2\]"):
        score_completions(paper(), [[completion("1 1")], [completion("1 1")] * 2])


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], "rewards is empty"),
        ([Accuracy(weight=-1.0)], "weight of reward 'accuracy' must be a finite number >= 0, got -1.0"),
        ([Accuracy(weight=float("nan"))], "got nan"),
        ([Accuracy(weight=0.0), Format(weight=0.0)], "reward weights sum to 0"),
        ([Accuracy(), Accuracy(1)], r"\['accuracy'\] more than once"),
        ([Accuracy(is_accuracy=True), Format(is_accuracy=True)], r"is_accuracy is set on \['accuracy', 'format'\]"),
        ([Accuracy(required_for_success=False)], "no reward has required_for_success"),
    ],
)
def test_rewards_that_cannot_be_combined_are_refused(rewards, message):
    with pytest.raises(ValueError, match=message):
        check_rewards(rewards)


def test_the_papers_rewards_are_accepted():
    check_rewards(paper())
