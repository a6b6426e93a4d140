import pytest
import torch

from mapo.rewards.length import LengthCredit, length_credit
from mapo.types import Completion, Prompt


def test_credit_by_hand():
    # limit 10, buffer 4: full up to 6 tokens, then (10 - n) / 4
    falling = [length_credit(n, limit=10, buffer=4) for n in range(13)]
    assert falling == [1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]


def test_it_is_dapos_punishment_plus_one():
    def dapo(n: int, longest: int, cache: int) -> float:
        if n <= longest - cache:
            return 0.0
        return (longest - cache - n) / cache if n <= longest else -1.0

    for n in (1, 16384, 16385, 18000, 20480, 30000):
        assert length_credit(n, limit=20480, buffer=4096) == pytest.approx(1 + dapo(n, 20480, 4096))


def test_no_buffer_cuts_off_behind_the_limit():
    assert [length_credit(n, limit=10, buffer=0) for n in (9, 10, 11)] == [1.0, 1.0, 0.0]


def test_a_buffer_as_long_as_the_limit_falls_from_the_start():
    assert [length_credit(n, limit=4, buffer=4) for n in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_tokens_are_counted_not_characters():
    prompt = Prompt("row", ({"role": "user", "content": "?"},), (), "4", {})
    completion = Completion(prompt, "", "a very long text " * 100, torch.arange(9), True)
    assert LengthCredit(limit=10, buffer=4, weight=0.1)([completion]) == [0.25]


def test_a_limit_that_was_left_open_is_the_rollouts_and_a_fifth_of_it_the_buffer():
    prompt = Prompt("row", ({"role": "user", "content": "?"},), (), "4", {})
    completions = [Completion(prompt, "", "", torch.arange(n), False) for n in (8, 9, 10)]
    with pytest.raises(ValueError, match="limit is None: give it"):
        LengthCredit(weight=0.1)(completions)
    assert LengthCredit(weight=0.1).with_limit(10)(completions) == [1.0, 0.5, 0.0]
    assert LengthCredit(weight=0.1, buffer=4).with_limit(10)(completions) == [0.5, 0.25, 0.0]
    assert LengthCredit(weight=0.1, limit=20).with_limit(10)(completions) == [1.0] * 3


def test_credit_is_no_part_of_success():
    reward = LengthCredit(limit=10, buffer=4, weight=0.1)
    assert (reward.name, reward.required_for_success, reward.is_accuracy) == ("length_credit", False, False)


@pytest.mark.parametrize(
    ("limit", "buffer", "message"),
    [(0, 0, "limit must be >= 1 token, got 0"), (10, 11, r"\[0, 10\] tokens, got 11"), (10, -1, "got -1")],
)
def test_impossible_lengths_are_refused(limit, buffer, message):
    with pytest.raises(ValueError, match=message):
        LengthCredit(limit=limit, buffer=buffer, weight=0.1)
