from itertools import permutations

import pytest

from mapo.metrics.majority import majority_accuracy

RIGHT, WRONG = 1.0, 0.0


def accuracy(votes: str) -> float:
    """The accuracy where ``r`` is the right answer, ``-`` is none, and any other letter a wrong one."""
    answers = [None if vote == "-" else vote for vote in votes]
    return majority_accuracy(answers, [RIGHT if vote == "r" else WRONG for vote in votes])


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ("rra", 1),  # 2 against 1
        ("raa", 0),
        ("ra", 1 / 2),  # 1 against 1
        ("rrab", 1),  # 2 against 1 against 1: a plurality is enough
        ("rab", 1 / 3),
        ("rraabb", 1 / 3),
        ("aabb", 0),  # whichever wins
        ("r---", 1),  # one vote
        ("-aar", 0),
        ("----", 0),  # no vote
        ("", 0),
    ],
)
def test_the_most_frequent_answer_counts_and_ties_share(votes, expected):
    assert accuracy(votes) == pytest.approx(expected, abs=1e-15)


def test_the_order_of_completions_does_not_matter():
    assert {accuracy("".join(order)) for order in permutations("rraa-")} == {0.5}


def test_an_answer_that_was_judged_once_and_failed_once_is_worth_its_mean():
    assert majority_accuracy(["4", "4", "5"], [RIGHT, WRONG, WRONG]) == 0.5


def test_a_vote_of_one_is_its_accuracy():
    assert (majority_accuracy(["4"], [RIGHT]), majority_accuracy(["5"], [WRONG])) == (1.0, 0.0)


def test_every_completion_needs_an_accuracy():
    with pytest.raises(ValueError, match="shorter"):
        majority_accuracy(["4", "4"], [RIGHT])
