"""The failure of one rank ends the others; the runs of several processes are in ``test_distributed``."""

import contextlib
import json
import threading
import time

import pytest
from torch.distributed import HashStore

from mapo.modules import rank_failure
from mapo.modules.rank_beats import Beat, waiting
from mapo.modules.rank_failure import RankFailureError, RankWatch


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(rank_failure, "_INTERVAL", 0.01)
    monkeypatch.setattr(rank_failure, "_HEARD", 5.0)
    monkeypatch.setattr(rank_failure, "_TOLD", 0.1)


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


@pytest.mark.parametrize("exception", [SystemExit(0), ValueError("no reward today")])
def test_nothing_is_in_the_store_any_more_when_the_process_ends(exception, quick, monkeypatch):
    """A thread that is would be unwound through C++ frames as Python finalizes, and abort the process."""
    monkeypatch.setattr(rank_failure, "_HEARD", 0.1)
    first = RankWatch()
    first.watch(HashStore(), rank=0, world_size=2, run=0)
    threads = list(first._threads)
    assert all(thread.is_alive() for thread in threads)
    first.on_exception(None, None, exception)
    assert not any(thread.is_alive() for thread in threads)


def test_what_follows_from_a_failure_is_not_taken_for_its_reason(monkeypatch):
    monkeypatch.setattr(rank_failure, "_HEARD", 0.0)
    monkeypatch.setattr(rank_failure, "_TOLD", 0.0)
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


class Other:
    """The signs of life of rank 1 of two, which lives in this process only for the test."""

    def __init__(self, store, *, waits=False):
        self._store, self._waits, self._number = store, waits, 0

    def beat(self):
        self._number += 1
        beat = Beat(self._number, "far", self._waits, "my_rewards.py:7 (Judge.__call__)")
        self._store.set("mapo/beat/0/1", json.dumps(beat))

    def beat_on(self, until):
        while not until.wait(0.01):
            self.beat()


@pytest.fixture
def impatient(quick):
    """A watch of rank 0 that loses patience after half a second, and the store it has."""
    store, watch = HashStore(), RankWatch()
    watch.watch(store, rank=0, world_size=2, run=0, timeout_s=0.5)
    yield store, watch
    watch.teardown_watch()


@pytest.fixture
def beating(impatient):
    """Have rank 1 go on giving signs of life."""
    end, started = threading.Event(), []

    def begin(**settings):
        started.append(threading.Thread(target=Other(impatient[0], **settings).beat_on, args=(end,)))
        started[0].start()

    yield begin
    end.set()
    for thread in started:
        thread.join()


def assert_broken_off(watch, reason, error=KeyboardInterrupt):
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    with pytest.raises(RankFailureError, match=reason):
        watch.report(error())


def test_a_rank_that_gives_no_sign_of_life_is_named_with_its_last_place(impatient):
    store, watch = impatient
    Other(store).beat()
    assert_broken_off(watch, r"rank 1 \(far\), last seen in my_rewards.py:7 .*, has given no sign of life for")


def test_a_rank_that_has_others_wait_is_named_though_it_lives(impatient, beating):
    beating()
    with waiting():
        assert_broken_off(impatient[1], r"rank 1 \(far\), last seen in my_rewards.py:7 .*, has had others wait for")


@pytest.mark.parametrize("waits", [False, True])
def test_slow_ranks_are_left_alone_as_long_as_nobody_waits_for_them(impatient, beating, waits):
    """A long rollout, where no rank waits; or all of them wait for an operation to be done."""
    beating(waits=waits)
    with waiting() if waits else contextlib.nullcontext():
        time.sleep(1.5)


def test_a_rank_that_has_left_is_not_missed(impatient, monkeypatch):
    monkeypatch.setattr(rank_failure, "_HEARD", 0.0)
    store, watch = impatient
    other = RankWatch()
    other.watch(store, rank=1, world_size=2, run=0)
    time.sleep(0.1)
    other.teardown_watch()
    with waiting():
        time.sleep(1.0)
    watch.report(RuntimeError("connection closed by peer"))  # it fails by itself


def test_a_lost_connection_is_that_to_the_rank_without_a_sign_of_life(impatient, beating):
    store, watch = impatient
    Other(store).beat()
    with pytest.raises(RankFailureError, match=r"rank 0 stops, because rank 1 \(far\).*gives no sign of life"):
        watch.report(RuntimeError("connection closed by peer"))


def test_a_store_that_does_not_answer_ends_the_wait_for_it(quick):
    answer = threading.Event()

    class Stuck:
        """As a TCPStore whose server has been stopped."""

        def set(self, *_):
            answer.wait()

        def check(self, _):
            return False

    watch = RankWatch()
    watch.watch(Stuck(), rank=1, world_size=2, run=0, timeout_s=0.5)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    answer.set()
    watch.teardown_watch()
