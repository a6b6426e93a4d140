"""A stand-in for reasoning-gym, of the same interface, for the worker process as well as for this one."""

import sys

import pytest

_MODULE = """
import os
import random
import time
import sympy

def create_dataset(name, *, seed, size, **config):
    if name not in TASKS:
        raise ValueError(f"Dataset '{name}' not registered")
    return TASKS[name](seed, size, **config)

class Successor:
    def __init__(self, seed, size, largest=10**9):
        assert largest > 0, "largest must be positive"
        self.seed, self.largest = seed, largest

    def __getitem__(self, index):
        number = random.Random(self.seed + index).randrange(self.largest)
        return {"question": f"What follows {number}?", "answer": str(number + 1), "metadata": {"pair": (number, 1)}}

    def score_answer(self, answer, entry):
        if answer == "sleep":
            time.sleep(60)
        if answer == "exit":
            os._exit(3)
        if answer == "much":
            bytearray(64 << 30)
        assert isinstance(entry["metadata"]["pair"], tuple)
        difference = abs(int(answer) - int(entry["answer"]))
        return 1.0 if difference == 0 else 0.25 if difference <= self.largest // 10**9 else 0.0

class Anything(Successor):
    def __getitem__(self, index):
        return super().__getitem__(index) | {"answer": None}

    def score_answer(self, answer, entry):
        return float(answer == "right")

class Evaluated(Successor):
    def score_answer(self, answer, entry):
        return float(eval(answer) == [1, 2])

class Algebra(Successor):
    def score_answer(self, answer, entry):
        return float(sympy.parse_expr(answer, local_dict={"x": sympy.Symbol("x")}) == 2)

TASKS = {"successor": Successor, "anything": Anything, "evaluated": Evaluated, "algebra": Algebra}
"""


@pytest.fixture
def fake_library(tmp_path, monkeypatch):
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "reasoning_gym.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "reasoning_gym"}
    yield
    sys.modules.pop("reasoning_gym", None)
    sys.modules.update(before)
