import re
import sys
from types import SimpleNamespace

import pytest

from mapo.callbacks.plain_bar import PlainBar
from mapo.callbacks.progress import PhaseProgressBar, num_rows
from mapo.data.loader import EvaluationLoader
from mapo.modules.interruptible import Interruptible

FIGURES = "reward 0.250, accuracy 50.0 %, length 4 tokens, 1.23k tokens/s"


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Make the captured output pass for a terminal of 160 columns."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LINES", "40")


def lines(output: str) -> list[str]:
    """Replace the figures that depend on the clock."""
    return re.sub(r"[\d,.]+ (rows/s|s per row)", "pace", re.sub(r"\d\d:\d\d", "mm:ss", output)).splitlines()


def test_one_count_runs_through_all_epochs(module, make_trainer, phases, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=0), max_epochs=2).fit(module(), phases)
    written = lines(capsys.readouterr().out)
    assert written[0] == f"Epoch 1/2: 1/6 phases, mm:ss left, mm:ss elapsed, {FIGURES}"
    assert [line.partition(" phases")[0] for line in written] == [f"Epoch {1 + i // 3}/2: {i + 1}/6" for i in range(6)]


def test_plain_lines_keep_their_distance(module, make_trainer, phases, rows, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=3600), max_epochs=2).fit(module(), phases, rows)
    output = capsys.readouterr().out
    assert "\r" not in output
    assert "\x1b" not in output
    assert [line.partition(",")[0] for line in output.splitlines()] == [
        "Epoch 1/2: 1/6 phases",
        "Validation after phase 3: grid sampled 70.0 % greedy 80.0 %",
        "Epoch 2/2: 6/6 phases",
        "Validation after phase 6: grid sampled 100.0 % greedy 110.0 %",
    ]


def test_validation_names_its_set_and_counts_rows(module, make_trainer, rows, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=0)).validate(
        module(("grid", "bars-ood")), [rows, rows], verbose=False
    )
    assert lines(capsys.readouterr().out) == [
        f"Validation {name}: {done}/5 rows, mm:ss left, mm:ss elapsed, pace"
        for name in ("grid", "bars-ood")
        for done in (2, 4, 5)
    ]


@pytest.mark.parametrize(("stage", "title"), [("test", "Test"), ("predict", "Prediction")])
def test_test_and_predict_count_rows(module, make_trainer, rows, capsys, stage, title):
    trainer = make_trainer(PhaseProgressBar(seconds_per_line=0), limit_test_batches=2, limit_predict_batches=2)
    getattr(trainer, stage)(module(), rows)
    assert f"{title} grid: 4/4 rows" in capsys.readouterr().out


class Resumed(Interruptible):
    """Has three of the five rows of its second set already."""

    def __init__(self) -> None:
        super().__init__()
        self.last_resumed, self.actor = 0, SimpleNamespace(gathered=False)
        self.rollout = SimpleNamespace(rest=lambda: None)

    def begin_evaluation(self) -> None:
        pass

    def rows_answered(self, set_name: str) -> int:
        return 3 if set_name == "set_1" else 0

    def validation_step(self, prompts, batch_idx, dataloader_idx=0) -> None:
        self.last_resumed = max(0, min(len(prompts), 3 - 2 * batch_idx)) if dataloader_idx else 0


def test_rows_of_an_interrupted_run_are_done_from_the_start(make_trainer, rows, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=0)).validate(Resumed(), [rows, rows], verbose=False)
    written = [line.partition(" rows")[0] for line in lines(capsys.readouterr().out)]
    # Batches of 2, 2 and 1 rows: the first of the second set and half of its next one are there.
    assert written == [f"Validation set_0: {n}/5" for n in (2, 4, 5)] + [f"Validation set_1: {n}/5" for n in (4, 5)]


def test_time_left_follows_from_the_rows_answered_since_the_start():
    progress = PhaseProgressBar(seconds_per_line=0)
    shown = progress._bar("Validation grid", "rows", 100, initial=60)
    shown.start_t, shown._time = 0, lambda: 10
    shown.n = 80
    assert str(shown).endswith("80/100 rows, 00:10 left, 00:10 elapsed")  # 20 rows in 10 s, 20 to go
    shown.close()


def test_without_an_end_there_is_no_total(module, make_trainer, phases, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=0), max_epochs=-1, max_time={"seconds": 1}).fit(module(), phases)
    assert lines(capsys.readouterr().out)[0] == f"Epoch 1: 1 phases, mm:ss elapsed, {FIGURES}"


def test_optimizer_steps_as_the_limit_become_phases(module, make_trainer, phases, capsys):
    make_trainer(PhaseProgressBar(seconds_per_line=0), max_epochs=-1, max_steps=8).fit(module(updates=2), phases)
    written = lines(capsys.readouterr().out)
    assert [line.partition(",")[0] for line in written] == [f"Epoch {1 + i // 3}: {i + 1}/4 phases" for i in range(4)]


def test_a_resumed_run_counts_on(module, make_trainer, phases, capsys, tmp_path):
    first = make_trainer(PhaseProgressBar())
    first.fit(module(), phases)
    first.save_checkpoint(tmp_path / "end.ckpt")
    capsys.readouterr()
    resumed = make_trainer(PhaseProgressBar(seconds_per_line=0), max_epochs=2)
    resumed.fit(module(), phases, ckpt_path=tmp_path / "end.ckpt")
    assert lines(capsys.readouterr().out)[0].startswith("Epoch 2/2: 4/6 phases, ")


def test_a_terminal_gets_a_bar(module, make_trainer, phases, rows, terminal, capsys):
    make_trainer(PhaseProgressBar(), num_sanity_val_steps=1).fit(module(), phases, rows)
    states = lines(capsys.readouterr().out.replace("\r", "\n"))
    bars = [state for state in states if state.startswith("Epoch")]
    assert bars[0].startswith("Epoch 1/1 |███")
    assert bars[0].endswith(f"| 1/3 phases, mm:ss left, mm:ss elapsed, {FIGURES}")
    assert any(state.startswith("Validation grid |████████  | 4/5 rows") for state in states)
    assert "Validation after phase 3: grid sampled 70.0 % greedy 80.0 %" in states


def test_a_narrow_terminal_has_the_words_alone(module, make_trainer, phases, terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    make_trainer(PhaseProgressBar()).fit(module(), phases)
    states = lines(capsys.readouterr().out.replace("\r", "\n"))
    assert any(state.startswith("Epoch 1/1: 1/3 phases, mm:ss left") for state in states)


def test_nothing_is_shown_when_switched_off(module, make_trainer, phases, rows, capsys):
    make_trainer(PhaseProgressBar(refresh_rate=0)).fit(module(), phases, rows)
    assert capsys.readouterr().out == ""


def test_an_interrupt_closes_the_line(module, make_trainer, phases, terminal, capsys):
    with pytest.raises(SystemExit):
        make_trainer(PhaseProgressBar()).fit(module(stop_in_phase=1), phases)
    assert capsys.readouterr().out.endswith("\n")


def test_a_quick_bar_leaves_no_line_and_a_slow_one_its_end(capsys):
    for seconds in (3600, 0):
        bar = PlainBar(seconds_per_line=seconds, always=False, total=2, bar_format="{n}/{total}", file=None)
        bar.n = 1
        bar.refresh()
        bar.n, bar.seconds_per_line = 2, 3600
        bar.close()
        assert capsys.readouterr().err == ("" if seconds else "1/2\n2/2\n")


def test_rows_of_a_loader_that_does_not_tell_are_unknown():
    loader = EvaluationLoader([None] * 5, batch_size=2)  # type: ignore[list-item]
    assert num_rows({"a": iter(()), "b": loader}, 1, 2) == 4
    assert num_rows([loader], 0, float("inf")) == 5
    assert num_rows(iter(()), 0, 2) is None


def test_a_negative_pause_is_refused():
    with pytest.raises(ValueError, match="seconds_per_line must be >= 0, got -1"):
        PhaseProgressBar(seconds_per_line=-1)
