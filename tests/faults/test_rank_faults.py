"""One of two ranks dies, fails, hangs or reads what is broken: the other one stops and names it, and the run goes on.

Nobody looks after these ranks, which is the hardest case: launchers end the ranks that one has left behind.
"""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from forks import Moment, processes_of
from injection import THOROUGH
from PIL import Image
from undisturbed import FIT, assert_nothing_left, assert_nothing_lost, shared_memory

from mapo.data.jsonl import JSONL
from mapo.data.loader import PhaseLoader

RANKS = (*FIT, "--config", str(Path(__file__).with_name("ranks.yaml")))
SCORED = "mapo.modules.mapo:score_completions"
LOADED = "mapo.data.loader:PhaseLoader._order"
LOSS = "mapo.losses.clipped:clipped_surrogate"
IMPATIENT = ("--trainer.strategy.timeout", "0:00:20")  # how long ranks wait for each other
GONE = "gives no sign of life"

pytestmark = pytest.mark.slow
thorough = pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert forks.run_ranks(folder, *RANKS) == [0, 0], said(folder)
    return folder


def said(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def assert_named(folder: Path, rank: int, reason: str, *, by: int) -> None:
    """Look for the line of the rank that stops; ``said`` begins anew with the next run."""
    line = rf"mapo: error: rank {by} stops, because rank {rank} \(.+\).* {reason}"
    assert re.search(line, said(folder)), said(folder)[-3000:]
    assert not processes_of(folder)
    (folder / "output.txt").unlink()


def test_a_rank_that_is_killed_or_raises_is_named_and_the_run_goes_on(forks, undisturbed, tmp_path, inject):
    before = shared_memory()
    with inject("two ranks: one is killed (kill -9)"):
        codes = forks.run_ranks(tmp_path, *RANKS, moment=Moment(SCORED, 2))
        assert codes == [2, -signal.SIGKILL]
        assert_named(tmp_path, 1, GONE, by=0)
    with inject("two ranks: one raises"):
        codes = forks.run_ranks(tmp_path, *RANKS, moment=Moment(SCORED, 1), happens="raise")
        assert codes == [2, 1]
        assert_named(tmp_path, 1, "failed: ValueError: no reward today", by=0)
        assert forks.run_ranks(tmp_path, *RANKS) == [0, 0], said(tmp_path)
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, before)


@thorough
def test_the_rank_where_the_others_met_may_be_the_one_that_is_killed(forks, undisturbed, tmp_path, inject):
    with inject("two ranks: the first is killed (kill -9)"):
        codes = forks.run_ranks(tmp_path, *RANKS, rank=0, moment=Moment(SCORED, 2))
        assert codes == [-signal.SIGKILL, 2]
        assert "rank 1 stops, because rank 0 or its launcher, where the ranks had met, has ended" in said(tmp_path)
        assert forks.run_ranks(tmp_path, *RANKS) == [0, 0], said(tmp_path)
        assert_nothing_lost(tmp_path, undisturbed)


@thorough
def test_a_rank_that_fails_over_its_data_before_the_run_is_named(forks, tmp_path, inject):
    with inject("two ranks: one raises before the run"):
        moment = Moment("mapo.data.base:PromptDataModule.setup", 1)
        assert forks.run_ranks(tmp_path, *RANKS, moment=moment, happens="raise") == [2, 1]
        assert_named(tmp_path, 1, "failed: ValueError: no reward today", by=0)


@thorough
@pytest.mark.parametrize(
    ("fault", "moment", "happens", "reason", "codes"),
    [
        ("loops for ever in a reward", Moment(SCORED, 2), "loop", "has had others wait for", [2, 2]),
        ("loops for ever over its data", Moment(LOADED, 1), "loop", "has had others wait for", [2, 2]),
        ("loops for ever in the loss", Moment(LOSS, 2), "loop", "has had others wait for", [2, 2]),
        ("is stopped (SIGSTOP)", Moment(SCORED, 2), int(signal.SIGSTOP), "no sign of life", [2, -signal.SIGKILL]),
    ],
)
def test_a_rank_that_hangs_is_named(forks, undisturbed, tmp_path, inject, fault, moment, happens, reason, codes):
    before = shared_memory()
    with inject(f"two ranks: one {fault}"):
        assert forks.run_ranks(tmp_path, *RANKS, *IMPATIENT, moment=moment, happens=happens) == codes
        assert_named(tmp_path, 1, reason, by=0)
        assert forks.run_ranks(tmp_path, *RANKS) == [0, 0], said(tmp_path)
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, before)


@thorough
def test_rewards_that_are_nan_on_one_rank_train_nothing_and_stop_nobody(forks, tmp_path, inject):
    with inject("two ranks: a reward of one is NaN"):
        moment = Moment("mapo.rewards.think_format:ThinkFormat.__call__", 1, after=True)
        assert forks.run_ranks(tmp_path, *RANKS, moment=moment, happens="nan") == [0, 0], said(tmp_path)
        assert "reward 'think_format' returned nan" in said(tmp_path)


@thorough
def test_a_picture_that_only_one_rank_finds_broken_is_named(forks, tmp_path, inject):
    folder, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    folder.mkdir()
    data = write_pictures(folder)
    shutil.copytree(folder, undisturbed)
    assert forks.run_ranks(undisturbed, *RANKS, *data) == [0, 0], said(undisturbed)
    with inject("two ranks: a broken picture that one reads"):
        picture = folder / f"{last_row_of(folder, rank=1)}.png"
        whole = picture.read_bytes()
        picture.write_bytes(whole[: len(whole) // 2])  # its header says nothing of that
        assert forks.run_ranks(folder, *RANKS, *data) == [2, 2]
        assert_named(folder, 1, rf"failed: ValueError: .*'{picture.stem}'", by=0)
        picture.write_bytes(whole)
        assert forks.run_ranks(folder, *RANKS, *data) == [0, 0], said(folder)
        assert_nothing_lost(folder, undisturbed)


def write_pictures(folder: Path) -> tuple[str, ...]:
    """Write 6 rows with a picture each and one without, and return the arguments that read them."""
    rows = [
        {"id": f"row-{i}", "question": "What is the area?", "answer": "4", "images": f"row-{i}.png"} for i in range(6)
    ]
    for i, row in enumerate(rows):
        Image.effect_noise((84, 84), 10 + i).convert("RGB").save(folder / row["images"])
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "eval.jsonl").write_text(json.dumps({"question": "What is 2 + 3?", "answer": "5"}))
    settings = {"train": "train.jsonl", "evaluation": {"plane_figures": "eval.jsonl"}, "batch_size": 2}
    (folder / "data.yaml").write_text(
        json.dumps({"data": {"class_path": "mapo.data.jsonl.JSONL", "init_args": settings}})
    )
    return ("--config", "data.yaml")


def last_row_of(folder: Path, *, rank: int) -> str:
    rows = JSONL(train=str(folder / "train.jsonl")).train_prompts()
    return list(PhaseLoader(rows, batch_size=2, rank=rank, world_size=2))[-1][0].sample_id
