"""Prompts followed through a run."""

import json
import math

from mapo.functional.success_bins import BINS
from mapo.metrics.prompt_history import PromptHistory

NONE, FEW, HALF, MOST, ALL = range(len(BINS))


def test_what_was_mastered_once_is_missed_until_it_is_back():
    history = PromptHistory(max_prompts=10)
    assert math.isnan(history.see([("a", ALL), ("b", MOST), ("c", HALF)]))
    assert history.see([("a", MOST), ("b", HALF), ("c", ALL)]) == 0.5  # c had not been mastered before
    assert history.see([("b", HALF), ("c", ALL)]) == 0.5
    assert history.see([("b", ALL)]) == 1


def test_moves_go_from_the_first_phase_to_the_last():
    history = PromptHistory(max_prompts=10)
    for seen in ([("a", NONE), ("b", HALF), ("once", ALL)], [("a", ALL), ("b", HALF)], [("a", FEW)]):
        history.see(seen)
    moves = history.migration()
    assert sum(map(sum, moves)) == 2
    assert (moves[NONE][FEW], moves[HALF][HALF]) == (1, 1)


def test_no_more_prompts_are_followed_than_allowed():
    history = PromptHistory(max_prompts=2)
    history.see([("a", ALL), ("b", ALL), ("c", ALL)])
    assert set(history.state_dict()) == {"a", "b"}
    assert history.see([("a", NONE), ("c", NONE)]) == 0  # of a alone


def test_a_checkpoint_in_plain_values_continues_it():
    whole, first, second = (PromptHistory(max_prompts=10) for _ in range(3))
    phases = [("a", NONE), ("b", ALL)], [("a", MOST), ("b", FEW)], [("a", FEW), ("b", ALL)]
    for phase in phases:
        whole.see(phase)
    first.see(phases[0])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.see(phases[1]) == 0
    assert second.see(phases[2]) == 0.5
    assert second.migration() == whole.migration()
