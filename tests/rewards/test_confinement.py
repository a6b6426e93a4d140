"""Each limit is tried in a process that has it."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")


def run(body, *, timeout=60):
    script = f"import os, sys\nfrom mapo.rewards.confinement import confine, deadline, limit_memory\n{body}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout)


def test_nothing_can_be_written_to_a_file_but_the_pipe_of_the_verdicts_stays(tmp_path):
    result = run(f"""
pipe = os.fdopen(os.dup(1), "w")
confine()
try:
    with open({str(tmp_path / "written")!r}, "w") as file:
        file.write("x")
except OSError as error:
    pipe.write(error.strerror)
""")
    assert result.stdout == "File too large"
    assert (tmp_path / "written").read_bytes() == b""


def test_files_that_are_opened_and_never_closed_run_out():
    result = run("""
pipe = os.fdopen(os.dup(1), "w")
confine()
try:
    held = [open("/dev/null") for _ in range(1000)]
except OSError as error:
    pipe.write(error.strerror)
""")
    assert result.stdout == "Too many open files"


def test_what_is_printed_reaches_nobody():
    result = run("confine()\nprint('to the terminal', flush=True)\nos.write(2, b'to the terminal')")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_memory_runs_out_at_the_limit():
    result = run("limit_memory(256)\ntry:\n    bytearray(300 << 20)\nexcept MemoryError:\n    print('refused')")
    assert result.stdout == "refused\n"


def test_a_deadline_ends_the_process_and_one_that_is_met_does_not():
    result = run("""
with deadline(5.0):
    pass
print("met", flush=True)
with deadline(0.2):
    while True:
        pass
""")
    assert result.stdout == "met\n"
    assert result.returncode == -signal.SIGALRM


def test_switching_the_clock_off_does_not_lift_the_deadline():
    started = time.monotonic()
    result = run("""
import signal
with deadline(0.2):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    while True:
        pass
""")
    assert result.returncode == -signal.SIGXCPU
    assert time.monotonic() - started < 50
