"""Two ranks that hold half of the weights each are killed, and go on to the weights of a run that nothing disturbed."""

import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from forks import Moment
from injection import THOROUGH
from undisturbed import FIT, assert_nothing_left, assert_nothing_lost, last_run, shared_memory

from mapo.modules.checkpoint_files import checkpoints_in, damage

RANKS = (*FIT, "--config", str(Path(__file__).with_name("ranks.yaml")))
SHARDED = (*RANKS, "--trainer.strategy", "mapo.modules.fsdp2.FSDP2Strategy", "--trainer.strategy.timeout_minutes", "2")
UPDATE = "mapo.modules.whole_steps:WholeSteps.take_step"
# One run's kills, one after the other, with the rank that comes by there first.
KILLS = [
    ("update", 1, Moment(UPDATE, 1)),
    ("half of a shard written", 1, Moment("torch.distributed.checkpoint.filesystem:_write_item", 30)),
    ("update", 0, Moment(UPDATE, 2, after=True)),
    ("old shards put aside", 0, Moment("mapo.modules.replacing:_make_room", 1, after=True)),
    ("shards written but not renamed", 0, Moment("mapo.modules.fsdp2:write_sums", 1, after=True)),
    ("shards about to be removed", 0, Moment("shutil:rmtree", 1)),
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")]


def said(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def test_two_ranks_that_are_killed_go_on_with_their_shards(forks, tmp_path_factory, inject):
    undisturbed, folder, others = (
        tmp_path_factory.mktemp("undisturbed"),
        tmp_path_factory.mktemp("run"),
        shared_memory(),
    )
    assert forks.run_ranks(undisturbed, *SHARDED) == [0, 0], said(undisturbed)
    with ExitStack() as stack:
        for place, times in reversed(Counter(place for place, *_ in KILLS).items()):
            stack.enter_context(inject(f"kill -9, two ranks with shards: {place}", times))
        for place, rank, moment in KILLS:
            codes = forks.run_ranks(folder, *SHARDED, rank=rank, moment=moment, together=True)
            assert codes[rank] == -signal.SIGKILL, (place, said(folder))
            assert all(codes)  # the other one may notice, and end, before it is killed
            assert bool(list(folder.rglob(".last.ckpt.replaced"))) == (place == "old shards put aside")
        assert forks.run_ranks(folder, *SHARDED) == [0, 0], said(folder)
        assert_nothing_lost(folder, undisturbed)
        assert_nothing_left(folder, others)
        found = checkpoints_in(last_run(folder) / "checkpoints")
        assert all(path.is_dir() for path in found)
        assert not list(filter(damage, found))
