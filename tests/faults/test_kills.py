"""Runs that are killed at any moment and go on to the very weights and logs of a run that nothing disturbed.

The normal suite kills a few times; the thorough one fifty times more, at moments drawn at random; ten of those are in
``test_export_kills.py``.
"""

import random
import shutil
import signal
from collections import Counter
from contextlib import ExitStack

import pytest
from forks import Moment
from injection import THOROUGH
from undisturbed import FIT, assert_nothing_left, assert_nothing_lost, shared_memory

MODULE = "mapo.modules.mapo:MAPOModule"
UPDATE = "mapo.modules.whole_steps:WholeSteps.take_step"
VALIDATION = f"{MODULE}.validation_step"
PUT = "mapo.modules.checkpoint_io:_put"
LINE = "mapo.callbacks.json_lines:JsonLines.append"
# Where runs are killed, how many of the forty, and among how many calls of the function, or bytes, or seconds.
PLACES = {
    "rollout": (8, f"{MODULE}.generate", 10),
    "reward": (5, "mapo.modules.mapo:score_completions", 4),
    "update": (7, UPDATE, 4),
    "validation": (5, VALIDATION, 7),
    "checkpoint half written": (5, "bytes", 15_000_000),
    "checkpoint renamed": (4, PUT, 5),
    "log line": (2, LINE, 10),
    "results": (2, "mapo.callbacks.summary:write_results", 1),
    "any moment": (2, "seconds", 3.0),
}
FEW = [
    ("validation", Moment(VALIDATION, 2)),  # before there is any checkpoint
    ("checkpoint half written", Moment("bytes", 1_000_000)),  # of the first one
    ("update", Moment(UPDATE, 2, after=True)),  # the weights have moved
    ("checkpoint renamed", Moment(PUT, 1, after=True)),  # saved, but not yet logged
    ("log line", Moment(LINE, 1, after=True)),
]
# Between phases, in the middle of a rollout, and before an update.
TOLD = [
    Moment("mapo.callbacks.json_lines:JsonLines.append", 3),
    Moment("mapo.rollout.completing:Completing._draw", 110),
    Moment("mapo.modules.mapo:score_completions", 2),
]
CHAIN = 5  # kills of one run


def drawn(chain: int) -> list[tuple[str, Moment]]:
    """Return the places and moments of a chain of kills; all chains together come by every place as often as told."""
    names = [name for name, (times, *_) in PLACES.items() for _ in range(times)]
    random.Random(0).shuffle(names)
    draw = random.Random(chain)
    moments = []
    for name in names[CHAIN * chain : CHAIN * (chain + 1)]:
        _, function, most = PLACES[name]
        call = draw.uniform(0.3, most) if function == "seconds" else draw.randint(1, most)
        moments.append((name, Moment(function, call, after=draw.random() < 0.5)))
    return moments


def kill(forks, folder, moment: Moment, undisturbed) -> None:
    """Kill a run that goes on from the last one; where it is over before that moment comes, a new one."""
    for _ in range(2):
        code = forks.run(folder, *FIT, moment=moment)
        if code == -signal.SIGKILL:
            return
        assert code == 0, (moment, (folder / "output.txt").read_text())
        assert_nothing_lost(folder, undisturbed)
        shutil.rmtree(folder / "runs")
    pytest.fail(f"{moment} never comes")


def kill_often(forks, undisturbed, folder, inject, kills: list[tuple[str, Moment]]) -> None:
    """Kill one run so many times; each time the next one goes on from it, and the last one to the end."""
    others = shared_memory()
    with ExitStack() as stack:
        places = Counter(place for place, _ in kills)
        for place, times in reversed(places.items()):  # the last that is opened reports first
            stack.enter_context(inject(f"kill -9: {place}", times))
        for _, moment in kills:
            kill(forks, folder, moment, undisturbed)
        assert forks.run(folder, *FIT) == 0, (kills, (folder / "output.txt").read_text())
        assert_nothing_lost(folder, undisturbed)
        assert_nothing_left(folder, others)


@pytest.mark.slow
def test_killed_runs_go_on_as_if_nothing_had_happened(forks, undisturbed, tmp_path, inject):
    kill_often(forks, undisturbed, tmp_path, inject, FEW)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("chain", range(sum(times for times, *_ in PLACES.values()) // CHAIN))
def test_runs_killed_at_random_moments(forks, undisturbed, tmp_path, inject, chain):
    kill_often(forks, undisturbed, tmp_path, inject, drawn(chain))


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_code_0(forks, undisturbed, tmp_path, inject):
    with inject("SIGTERM", times=3):
        for moment in TOLD:
            assert forks.run(tmp_path, *FIT, moment=moment, sent=signal.SIGTERM) == 0
        said = (tmp_path / "output.txt").read_text()
        # In the validation that comes first there is nothing to save but its answers.
        assert said.count("SIGTERM: everything is in") + said.count("validate was broken off") == 3, said
        assert forks.run(tmp_path, *FIT) == 0, said
        assert_nothing_lost(tmp_path, undisturbed)
        assert not list(tmp_path.rglob("stopped.ckpt"))
