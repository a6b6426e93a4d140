"""Numbers that are not finite: the step is left out, counted and kept; too many end the run, which then goes on."""

import math
import shutil
from pathlib import Path

import pytest
from injection import THOROUGH, LossError
from spoilt import spoiling
from undisturbed import FIT, assert_nothing_lost, events, last_run

PLACES = ["log_probs", "gradient", "loss"]
NUMBERS = ["nan", "inf"] if THOROUGH else ["nan"]
SPOILT = 3  # the phase, from 0


def said(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def assert_logs_are_whole(folder: Path, undisturbed: Path) -> None:
    """Every completion and every figure of every phase is there once, whatever their values."""
    runs = folder, undisturbed
    rows = [len((last_run(run) / "completions.jsonl").read_text().splitlines()) for run in runs]
    tags = [sorted({(tag, step) for tag, step, _ in events(run) if tag == "train/reward"}) for run in runs]
    if rows[0] != rows[1] or tags[0] != tags[1]:
        raise LossError(f"rows {rows}, figures {tags}")


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("place", PLACES if THOROUGH else PLACES[:1])
def test_a_step_is_left_out_counted_and_kept(forks, undisturbed, tmp_path, inject, place, number):
    with inject(f"not finite in one step: {place.replace('_', '-')}"):
        code = forks.run(tmp_path, *FIT, *spoiling(tmp_path, place, number, [SPOILT]))
        assert code == 0, said(tmp_path)
        shares = [value for tag, _, value in events(tmp_path) if tag == "train/skipped_step_share"]
        assert [share > 0 for share in shares] == [phase == SPOILT for phase in range(6)]
        assert_logs_are_whole(tmp_path, undisturbed)
        (kept,) = (last_run(tmp_path) / "faults").iterdir()
        assert kept.name == f"phase_{SPOILT}_step_{SPOILT}_rank_0.pt"
        assert "mapo replay" in said(tmp_path)
        last = last_run(tmp_path) / "checkpoints" / "last.ckpt"
        assert forks.run(tmp_path, "replay", str(kept), "--ckpt_path", str(last)) == 0, said(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES if THOROUGH else ["gradient"])
def test_too_many_end_the_run_and_what_came_before_goes_on(forks, undisturbed, tmp_path, inject, place):
    with inject(f"not finite in every step: {place.replace('_', '-')}"):
        spoilt = spoiling(tmp_path, place, "nan", list(range(SPOILT, 6)))
        code = forks.run(tmp_path, *FIT, *spoilt, "--model.max_skipped_steps=0")
        assert code not in (0, -9), said(tmp_path)
        assert "Traceback" not in said(tmp_path)
        assert said(tmp_path).splitlines()[-1].startswith("mapo: error: ")
        assert forks.run(tmp_path, *FIT) == 0, said(tmp_path)
        shutil.rmtree(last_run(tmp_path) / "faults")
        assert_nothing_lost(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("number", NUMBERS)
def test_a_reward_that_is_no_number_scores_nothing_and_is_named(forks, undisturbed, tmp_path, inject, number):
    with inject("not finite in one step: reward"):
        assert forks.run(tmp_path, *FIT, *spoiling(tmp_path, "reward", number, [SPOILT])) == 0, said(tmp_path)
        assert f"reward 'math_answer' returned {number} for sample" in said(tmp_path)
        assert_logs_are_whole(tmp_path, undisturbed)
        rewards = [value for tag, _, value in events(tmp_path) if tag == "train/reward"]
        assert all(map(math.isfinite, rewards))
