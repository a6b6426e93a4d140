"""Runs that are killed at any moment and go on to the very weights and logs of a run that nothing disturbed.

The normal suite kills a few times; the thorough one fifty times more, at moments drawn at random.
"""

import random
import shutil
import signal
from pathlib import Path

import pytest
from forks import Moment
from injection import THOROUGH
from undisturbed import FIT, assert_nothing_left, assert_nothing_lost

KILLS = 50

MODULE = "mapo.modules.mapo:MAPOModule"
# Where a run may be killed, and how often it comes by there.
PLACES = {
    "rollout": (f"{MODULE}.generate", 20),
    "reward": ("mapo.modules.mapo:score_completions", 6),
    "update": ("mapo.modules.whole_steps:WholeSteps.take_step", 6),
    "validation": (f"{MODULE}.validation_step", 12),
    "checkpoint written": ("mapo.modules.checkpoint_io:_put", 9),
    "checkpoint half written": ("bytes", 20_000_000),
    "log line": ("mapo.callbacks.json_lines:JsonLines.append", 20),
    "results": ("mapo.callbacks.summary:write_results", 2),
    "any": ("seconds", 4.0),
}
FEW = [
    Moment(f"{MODULE}.validation_step", 2),  # before there is any checkpoint
    Moment("bytes", 1_000_000),  # half of the first one
    Moment("mapo.modules.whole_steps:WholeSteps.take_step", 2, after=True),  # the weights have moved
    Moment("mapo.modules.checkpoint_io:_put", 1, after=True),  # saved, but not yet logged
    Moment("mapo.callbacks.json_lines:JsonLines.append", 2, after=True),
    Moment(f"{MODULE}.validation_step", 1, after=True),
]


def drawn(draw: random.Random) -> Moment:
    name = draw.choice(sorted(PLACES))
    function, most = PLACES[name]
    call = draw.uniform(0.3, most) if function == "seconds" else draw.randint(1, most)
    return Moment(function, call, after=draw.random() < 0.5)


@pytest.mark.slow
def test_killed_runs_go_on_as_if_nothing_had_happened(forks, undisturbed, tmp_path, inject):
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    with inject("kill -9, moments chosen", times=len(FEW)):
        codes = [forks.run(tmp_path, *FIT, moment=moment) for moment in FEW]
        assert codes == [-signal.SIGKILL] * len(FEW), (tmp_path / "output.txt").read_text()
        assert forks.run(tmp_path, *FIT) == 0, (tmp_path / "output.txt").read_text()
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, shared_memory)


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_code_0(forks, undisturbed, tmp_path, inject):
    with inject("SIGTERM", times=3):
        for call in (3, 1, 2):
            moment = Moment("mapo.modules.mapo:score_completions", call)
            assert forks.run(tmp_path, *FIT, moment=moment, sent=signal.SIGTERM) == 0
        said = (tmp_path / "output.txt").read_text()
        assert said.count("SIGTERM: everything is in") == 3
        assert forks.run(tmp_path, *FIT) == 0, said
        assert_nothing_lost(tmp_path, undisturbed)
        assert not list(tmp_path.rglob("stopped.ckpt"))


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("chain", range(KILLS // 5))
def test_runs_killed_at_random_moments(forks, undisturbed, tmp_path, inject, chain):
    draw = random.Random(chain)
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    with inject("kill -9, moments drawn at random", times=5):
        killed, moments = 0, []
        while killed < 5:
            moments.append(drawn(draw))
            code = forks.run(tmp_path, *FIT, moment=moments[-1])
            assert code in (0, -signal.SIGKILL), (moments, (tmp_path / "output.txt").read_text())
            killed += code == -signal.SIGKILL
            if code == 0:  # it was over before that moment came
                assert_nothing_lost(tmp_path, undisturbed)
                shutil.rmtree(tmp_path / "runs")
        assert forks.run(tmp_path, *FIT) == 0, (tmp_path / "output.txt").read_text()
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, shared_memory)
