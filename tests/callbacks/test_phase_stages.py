import time
from types import SimpleNamespace

import pytest

from mapo.callbacks.phase_stages import PhaseStages
from mapo.callbacks.plain_bar import PlainBar
from mapo.callbacks.progress import PhaseProgressBar
from mapo.functional.stages import tell_stage


class Shown(list):
    """A bar that keeps what it is to say."""

    def set_postfix_str(self, s="", refresh=True):
        self.words = s

    def remark(self):
        self.append(self.words)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    return now


def test_a_long_phase_says_how_far_it_is_and_how_long_still(clock):
    shown = Shown()
    stages = PhaseStages(shown, 5.0)
    for clock.seconds, done in ((101, 0), (103, 100), (105, 1000), (107, 2000), (111, 3000)):
        stages.tell("completions sampled", done, 8192)
    # Nothing for 5 s, and nothing for 5 s after that; 3,000 in the 10 s since sampling began.
    assert shown == ["1,000/8,192 completions sampled (00:28 left)", "3,000/8,192 completions sampled (00:17 left)"]


def test_time_left_is_that_of_the_stage_and_of_the_optimizer_step_at_hand(clock):
    shown = Shown()
    stages = PhaseStages(shown, 0.0)
    for clock.seconds, done in ((101, 0), (111, 1), (112, 0), (115, 1)):
        stages.tell("trained", done, 2)
    assert shown == ["0/2 trained", "1/2 trained (00:10 left)", "0/2 trained", "1/2 trained (00:03 left)"]


def test_lines_of_a_log_keep_their_distance(clock, capsys):
    bar = PlainBar(seconds_per_line=5.0, always=True, total=3, bar_format="{n_fmt}/{total_fmt}{postfix}")
    stages = PhaseStages(bar, 5.0)
    for second in range(20):
        clock.seconds = 100.0 + second
        stages.tell("prompts read", second, 20)
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        f"0/3, {n}/20 prompts read ({left} left)" for n, left in ((5, "00:15"), (10, "00:10"), (15, "00:05"))
    ]


def test_stages_are_watched_within_phases_alone(module, make_trainer, phases, capsys, monkeypatch):
    asked = module()
    step = asked.training_step

    def slow_step(batch, batch_idx):
        tell_stage("completions sampled", 3, 8)
        return step(batch, batch_idx)

    asked.training_step = slow_step
    make_trainer(PhaseProgressBar(seconds_per_line=0)).fit(asked, phases)
    tell_stage("completions sampled", 4, 8)
    written = [line for line in capsys.readouterr().out.splitlines() if "sampled" in line]
    assert len(written) == 3
    assert written[0].startswith("Epoch 1/1: 0/3 phases, ")
    assert written[0].endswith(" elapsed, 3/8 completions sampled")
