"""The failure of one rank ends the others; the runs of several processes are in ``test_distributed``."""

import threading
import time

import pytest
from torch.distributed import HashStore

from mapo.modules import rank_failure
from mapo.modules.rank_failure import RankFailureError, RankWatch


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(rank_failure, "_INTERVAL", 0.01)
    monkeypatch.setattr(rank_failure, "_HEARD", 5.0)


def watches(num, run=0):
    """Watches of so many ranks that met at one store."""
    store = HashStore()
    made = [RankWatch() for _ in range(num)]
    for rank, watch in enumerate(made):
        watch.watch(store, rank=rank, world_size=num, run=run)
    return made


def sample(seconds, *, beside):
    beside.start()
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        time.sleep(0.01)


def test_a_rank_that_works_is_broken_off_with_the_reason_of_another(quick, capfd):
    first, second = watches(2)
    failing = threading.Thread(target=second.report, args=(ValueError("no reward today"),))
    with pytest.raises(KeyboardInterrupt):
        sample(5, beside=failing)
    with pytest.raises(RankFailureError, match=r"rank 0 stops, because rank 1 .* failed: ValueError: no reward today"):
        first.report(KeyboardInterrupt())
    failing.join(timeout=5)
    assert not failing.is_alive()  # it has waited until it was heard, and no longer
    assert "rank 0 stops, because rank 1" in capfd.readouterr().err


def test_what_follows_from_a_failure_is_not_taken_for_its_reason(monkeypatch):
    monkeypatch.setattr(rank_failure, "_HEARD", 0.0)
    monkeypatch.setattr(rank_failure, "_INTERVAL", 60.0)
    first, second, third = watches(3)
    second.report(MemoryError("out of memory"))
    for watch in (first, third):
        with pytest.raises(RankFailureError, match=r"rank 1 .* MemoryError: out of memory") as caught:
            watch.report(RuntimeError("connection closed by peer"))
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_run_that_is_over_is_not_disturbed_by_the_next_one(quick):
    store = HashStore()
    watch, other = RankWatch(), RankWatch()
    watch.watch(store, rank=0, world_size=2, run=0)
    watch.teardown_watch()
    watch.watch(store, rank=0, world_size=2, run=1)
    store.set("mapo/failure/0", "rank 1 failed")
    time.sleep(0.1)  # several looks
    watch.teardown_watch()
    time.sleep(0.1)
    other.report(ValueError("alone, with nobody to tell"))  # does nothing
    assert "mapo-rank-watch" not in [thread.name for thread in threading.enumerate()]
