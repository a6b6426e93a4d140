import json
import subprocess
import sys

import pytest
import torch

from mapo.modules.records import EvaluationRecord
from mapo.modules.spool import FolderSpool, Lock, Spool
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores


def prompt(name, answer="4"):
    return Prompt(name, ({"role": "user", "content": "2+2?"},), (), answer, {})


def encode(row):
    return EncodedPrompt(row, torch.arange(3), {}, "")


def record(*names, mode="greedy", text="four"):
    prompts = tuple(encode(prompt(name)) for name in names)
    completions = tuple(
        (Completion(p.prompt, "", f"{text} {p.prompt.sample_id}", torch.arange(2), False),) for p in prompts
    )
    values = torch.ones(len(names), 1)
    rollouts = Rollouts(prompts, completions, tuple((torch.zeros(2),) for _ in prompts), 1.0)
    return EvaluationRecord("val", "grid", mode, rollouts, Scores(values, values > 0, values, values > 0, {}))


def found(spool, *names, mode="greedy", **changes):
    rows = spool.find("val", "grid", mode, [prompt(name, **changes) for name in names], encode)
    return {place: part.rollouts.completions[0][0].text for place, part in rows.items()}


def fill(folder, rank=0):
    spool = FolderSpool(folder, rank)
    spool.add(record("a", "b"))
    spool.add(record("c"))
    return spool


def test_what_one_process_has_added_another_finds_at_its_place(tmp_path):
    fill(tmp_path)  # not closed: the process was killed
    again = FolderSpool(tmp_path, 0)
    assert found(again, "x", "c", "a") == {1: "four c", 2: "four a"}
    assert found(again, "a", mode="sampled") == {}
    assert found(FolderSpool(tmp_path, 0), "a", answer="5") == {}


def test_every_rank_finds_the_answers_of_all(tmp_path):
    fill(tmp_path, rank=0)
    FolderSpool(tmp_path, 1).add(record("d"))
    assert found(FolderSpool(tmp_path, 0), "a", "d") == {0: "four a", 1: "four d"}


def test_rows_count_when_they_are_answered_in_every_mode(tmp_path):
    fill(tmp_path)
    FolderSpool(tmp_path, 0).add(record("b", mode="sampled"))
    again = FolderSpool(tmp_path, 0)
    assert [again.rows_answered("grid", modes) for modes in (["greedy"], ["greedy", "sampled"], [])] == [3, 1, 0]
    assert again.rows_answered("bars", ["greedy"]) == 0


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_is_done_again_and_spoils_no_other(tmp_path, cut):
    fill(tmp_path).close()
    path = tmp_path / "rank0.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = FolderSpool(tmp_path, 0)
    # Without its line break alone, the last line is whole.
    assert found(again, "a", "b", "c") == {0: "four a", 1: "four b"} | ({2: "four c"} if cut == 1 else {})
    again.add(record("d"))
    again.add(record("e"))
    assert {0, 2, 3} <= found(FolderSpool(tmp_path, 0), "a", "c" if cut == 1 else "b", "d", "e").keys()


def test_it_is_removed_with_its_parent_if_that_is_left_empty(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "all" / name).mkdir(parents=True)
    first, second = (fill(tmp_path / "all" / name) for name in ("one", "two"))
    first.remove()
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["two"]
    second.remove()
    assert not (tmp_path / "all").exists()


def test_a_file_that_cannot_be_written_is_said_once(tmp_path, recwarn):
    spool = FolderSpool(tmp_path, 0)
    (tmp_path / "rank0.jsonl").mkdir()
    spool.add(record("a"))
    spool.add(record("b"))
    assert [str(warning.message) for warning in recwarn if "no longer kept" in str(warning.message)]
    assert len([warning for warning in recwarn if "no longer kept" in str(warning.message)]) == 1


def test_without_a_folder_nothing_is_kept():
    spool = Spool()
    spool.add(record("a"))
    assert found(spool, "a") == {}
    assert spool.rows_answered("grid", ["greedy"]) == 0


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_and_goes_with_them(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-S", "-c", HOLD, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError):
        Lock(path)
    other.kill()
    other.communicate(timeout=60)
    lock = Lock(path)
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 1
    lock.release()
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0


def test_lines_can_be_read_by_anyone(tmp_path):
    fill(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "rank0.jsonl").read_text().splitlines()]
    assert [(line["set"], line["mode"], line["sample_id"], line["texts"]) for line in lines] == [
        ("grid", "greedy", name, [f"four {name}"]) for name in "abc"
    ]
