import copy
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mapo.rewards.verifier import Verifier, default_num_workers

HANG = ("3", "100000000!")


@pytest.fixture
def verifier():
    verifier = Verifier(timeout=2.0, num_workers=1)
    yield verifier
    verifier.close()


def children(pid: int) -> set[int]:
    """Child processes of a process, zombies included."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.add(int(status.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table from /proc")


def test_verdicts_come_in_order(verifier):
    pairs = [
        (r"2\sqrt{2}", r"\sqrt{8}"),
        ("x+1", "x-1"),
        ("x=5", "5"),
        (r"\frac{\pi}{2}", r"\frac{2\pi}{4}"),
        ("(1,2)", "(2,1)"),
    ]
    assert verifier.verify(pairs) == [True, False, True, True, False]
    assert not verifier.failures


def test_an_answer_that_cannot_be_read_is_wrong_and_a_gold_that_cannot_is_a_failure(verifier, caplog):
    assert verifier.verify([("3", r"\left("), (r"\left(", "3"), (r"\left(", "4")]) == [False, None, None]
    assert verifier.failures == {"gold": 2}
    assert caplog.text.count(r"cannot read the gold answer '\\left('") == 1


@needs_proc
def test_a_replacement_starts_while_nobody_waits(verifier):
    before = children(os.getpid())
    assert verifier.verify([("1", "2-1"), HANG]) == [True, None]
    (replacement,) = children(os.getpid()) - before
    assert verifier.verify([("1", "3-2")]) == [True]
    assert children(os.getpid()) - before == {replacement}


def test_a_process_without_standard_streams_has_workers():
    script = (
        "import os\n"
        "from mapo.rewards.verifier import Verifier\n"
        "report = os.dup(1)\n"
        "os.closerange(0, 3)\n"
        "verifier = Verifier(timeout=2.0, num_workers=1)\n"
        "os.write(report, repr(verifier.verify([('1', '2-1'), ('1', '3-1')])).encode())\n"
        "verifier.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert done.stdout == b"[True, False]"


def test_a_hang_is_a_failure_and_its_neighbours_are_judged(verifier):
    assert verifier.verify([("1/2", "0.5"), HANG, ("2", "4/2")]) == [True, None, True]
    assert verifier.failures == {"timeout": 1}


def test_pairs_sent_together_do_not_share_their_fate(verifier):
    pairs = [(str(n), f"{n + 1}-1") for n in range(40)]
    pairs[3:3] = [HANG]
    pairs[20:20] = [HANG, ("x", "y" * 9000)]
    expected: list[bool | None] = [True] * 43
    expected[3] = expected[20] = expected[21] = None
    assert verifier.verify(pairs) == expected
    assert verifier.failures == {"timeout": 2, "length": 1}


def test_lines_longer_than_a_pipe_holds_are_sent_in_pieces():
    verifier = Verifier(num_workers=1)
    long = "ä" * 8000  # 48 KB of JSON each; several of them are sent ahead
    assert (
        verifier.verify([(long, long + "1"), *[("1", "2-1")] * 3, (long, long + "2"), (long, "1"), ("2", "1+1")])[1:4]
        == [True] * 3
    )
    verifier.close()


@needs_proc
def test_a_worker_that_is_killed_in_the_middle_of_a_batch_loses_nothing(verifier):
    verifier = Verifier(timeout=5.0, num_workers=1)
    verifier.verify([("1", "2-1")])
    before = children(os.getpid())
    pairs = [(str(n), f"{n + 1}-1") for n in range(300)]
    killer = threading.Timer(0.1, lambda: [os.kill(pid, signal.SIGKILL) for pid in before])
    killer.start()
    assert verifier.verify(pairs) == [True] * 300
    killer.join()
    assert not children(os.getpid()) & before  # reaped
    verifier.close()


@needs_proc
def test_an_interrupt_in_the_middle_of_a_batch_leaves_no_process(verifier):
    before = children(os.getpid())
    interrupt = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        verifier.verify([("1", "2-1"), *[HANG] * 50])
    assert children(os.getpid()) == before  # neither a process nor a zombie
    assert verifier.verify([("2", "1"), ("1", "2-1")]) == [False, True]


@pytest.mark.parametrize("rule", ["math_verify", "mathruler"])
def test_both_rules_run_under_the_same_deadline(rule):
    pytest.importorskip(rule)
    verifier = Verifier(timeout=1.0, num_workers=1, rule=rule)
    assert verifier.verify([("1/2", "0.5"), ("1.5", "9**9**9"), ("x+1", "1+x")])[::2] == [True, True]
    assert set(verifier.failures) <= {"timeout", "memory"}
    verifier.close()


def test_the_default_number_of_workers_is_shared_by_the_ranks_of_a_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert default_num_workers() == 8
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert default_num_workers() == 3
    for ranks, workers in (("2", 6), ("8", 1), ("16", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert default_num_workers() == workers


def test_a_pair_longer_than_a_pipe_holds_is_not_sent(verifier):
    assert verifier.verify([("3", "x" * 1_000_000), ("3", "6/2")]) == [None, True]
    assert verifier.failures == {"length": 1}


@needs_proc
def test_one_worker_is_started_lazily_reused_and_replaced_after_a_crash(verifier):
    before = children(os.getpid())
    assert verifier.verify([]) == []
    assert children(os.getpid()) == before
    verifier.verify([("1", "2-1")])
    (first,) = children(os.getpid()) - before
    verifier.verify([("1", "3-2")])
    assert children(os.getpid()) - before == {first}
    os.kill(first, signal.SIGKILL)
    assert verifier.verify([("1", "4-3")]) == [True]  # killed while idle: nothing is lost
    (second,) = children(os.getpid()) - before
    assert second != first


@needs_proc
def test_nothing_is_left_after_close_and_a_closed_verifier_starts_again():
    before = children(os.getpid())
    verifier = Verifier(timeout=1.0, num_workers=2)
    pairs = [("1/2", "0.5")] * 6 + [HANG] * 2
    assert verifier.verify(pairs) == [True] * 6 + [None] * 2
    verifier.close()
    verifier.close()
    assert children(os.getpid()) == before  # no process, no zombie
    assert verifier.verify([("1/2", "0.5")]) == [True]
    verifier.close()
    assert children(os.getpid()) == before


@needs_proc
def test_a_dropped_verifier_ends_its_worker():
    before = children(os.getpid())
    Verifier().verify([("1/2", "0.5")])
    assert children(os.getpid()) == before


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_memory_is_bounded():
    before = children(os.getpid())
    verifier = Verifier(memory_mb=300, num_workers=1)
    verifier.verify([("1/2", "0.5")])
    (worker,) = children(os.getpid()) - before
    assert resource.prlimit(worker, resource.RLIMIT_AS) == (300 << 20, 300 << 20)
    verifier.close()


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits of another process")
def test_a_worker_lives_in_its_own_session_and_cannot_fill_disks_or_processors():
    before = children(os.getpid())
    verifier = Verifier(timeout=2.0, num_workers=1)
    verifier.verify([("1/2", "0.5")])
    (worker,) = children(os.getpid()) - before
    assert os.getsid(worker) == worker
    assert resource.prlimit(worker, resource.RLIMIT_FSIZE) == (0, 0)
    assert resource.prlimit(worker, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (64, 64)
    assert 0 < resource.prlimit(worker, resource.RLIMIT_CPU)[0] < 60
    verifier.close()


@needs_proc
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(ending):
    script = (
        "from mapo.rewards.verifier import Verifier\n"
        "verifier = Verifier(timeout=1.0, num_workers=2)\n"
        "verifier.verify([('1', '2-1')] * 2)\n"
        "print('up', flush=True)\n"
        "verifier.verify([('1', '2-1'), *[('3', '100000000!')] * 1000])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    parent.stdout.readline()
    workers = children(parent.pid)
    assert workers
    parent.send_signal(ending)
    parent.communicate(timeout=30)
    end = time.monotonic() + 30
    while any(map(is_running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def test_an_interrupted_pair_does_not_shift_the_verdicts(verifier, monkeypatch):
    from mapo.rewards import verifier as module

    wait = module._wait

    def interrupted(workers):
        monkeypatch.setattr(module, "_wait", wait)
        raise KeyboardInterrupt

    verifier.verify([("1", "2-1")])
    monkeypatch.setattr(module, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verifier.verify([("1", "2-1")])
    assert verifier.verify([("1", "3-1")]) == [False]  # not the verdict of the pair before


def test_copies_start_workers_of_their_own(verifier):
    verifier.verify([("1", "2-1")])
    for twin in (copy.deepcopy(verifier), pickle.loads(pickle.dumps(verifier))):
        assert twin.verify([("1/2", "0.5")]) == [True]
        twin.close()
    assert verifier.verify([("1/2", "0.5")]) == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_its_parents_worker_alone(verifier):
    verifier.verify([("1", "2-1")])
    child = os.fork()
    if child == 0:
        right = verifier.verify([("1/2", "0.5")]) == [True]
        verifier.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert verifier.verify([("1/2", "0.5")]) == [True]


def test_a_worker_that_cannot_start_is_an_error_not_a_verdict(verifier, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        verifier.verify([("1", "2-1")])


def test_the_worker_imports_neither_torch_nor_this_package():
    script = (
        "import mapo.rewards.verifier_worker as w, sys; w.math_verify_verdict('1', '1'); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", script]).strip() == b"False"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"timeout": 0.0}, "timeout must be > 0"),
        ({"memory_mb": 64}, "memory_mb must be >= 256"),
        ({"num_workers": 0}, "num_workers"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Verifier(**setting)
