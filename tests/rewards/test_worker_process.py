import os
import subprocess
import sys
import textwrap

import pytest

from mapo.rewards.worker_process import RunningWorker


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text("import sys\nfor line in sys.stdin:\n    print(sys.argv[1], line, end='', flush=True)\n")
    return path


def ask(worker, line):
    worker.process.stdin.write(line)
    return worker.process.stdout.readline()


def test_a_script_runs_in_a_session_of_its_own_and_ends_when_it_is_told_to(script):
    worker = RunningWorker(script, "argument")
    assert ask(worker, b"line\n") == b"argument line\n"
    assert os.getsid(worker.process.pid) == worker.process.pid
    assert worker.is_alive
    assert worker.stop() == -9
    assert not worker.is_alive
    assert worker.stop() == -9  # again: nothing happens


def test_a_dropped_worker_is_reaped(script):
    worker = RunningWorker(script, "argument")
    process = worker.process
    del worker
    assert process.returncode == -9


def test_the_package_is_found_where_only_this_process_knows_of_it(script):
    script.write_text("import mapo; print('found', flush=True)\n")
    program = f"""
        import sys
        sys.path[:0] = {sys.path!r}  # as a notebook does
        from pathlib import Path
        from mapo.rewards.worker_process import RunningWorker
        worker = RunningWorker(Path({str(script)!r}))
        print(worker.process.stdout.readline())
    """
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=bare, capture_output=True, text=True)
    assert result.stdout == "b'found\\n'\n"


def test_a_forked_child_neither_uses_nor_ends_the_worker(script):
    worker = RunningWorker(script, "argument")
    if (child := os.fork()) == 0:
        alive = worker.is_alive
        worker._stop()
        os._exit(1 if alive else 0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert ask(worker, b"still\n") == b"argument still\n"
    worker.stop()
