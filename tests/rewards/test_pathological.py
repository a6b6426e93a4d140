"""Whatever a model writes is answered within the deadline, with bounded memory, and the next answer is graded."""

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from mapo.rewards.equality import compare
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.verifier import Verifier
from mapo.types import Completion, Prompt

DEADLINE = 1.0
MEMORY_MB = 768
MATRIX = r"\begin{pmatrix}" + r" \\ ".join([" & ".join(["1"] * 100)] * 100) + r"\end{pmatrix}"
ANSWERS = {
    "power tower": "9**9**9",
    "LaTeX power tower": "9^{9^{9^9}}",
    "huge exponent": "2^{2^{100}}",
    "huge exponent of a variable": "x^{2^{100}}",
    "huge decimal exponent": "1e999999999",
    "huge factorial": "100000000!",
    "factorial tower": "3!!!!!!!!",
    "factorial of a factorial": "((10!)!)!",
    "huge binomial": r"\binom{1000000000}{500000000}",
    "10,000 nested braces": "{" * 10_000 + "1" + "}" * 10_000,
    "900 nested braces": "{" * 450 + "1" + "}" * 450,
    "1 MB of text": "x" * 1_000_000,
    "1 MB of digits": "1" * 1_000_000,
    "1 MB of spaces": " " * 1_000_000 + "1",
    "1 MB of text commands": r"\text{" * 150_000 + "}" * 150_000,
    "8,000 digits": "7" * 8_000,
    "long decimal": "0." + "3" * 900,
    "NUL bytes": "\0" * 100 + "4",
    "terminal escapes": "\x1b[2J\x1b]0;title\x07\x1b[31m4",
    "lone surrogate": "\ud800",
    "digits of other scripts": "٤" * 500,
    "right-to-left marks": "\u202e4\u202d" * 100,
    "combining marks": "4" + "\u0301" * 900,
    "unclosed parentheses": "(" * 900,
    "deep parentheses": "(" * 400 + "1" + ")" * 400,
    "deep fractions": r"\frac{" * 90 + "1" + "}{2}" * 90,
    "continued fraction": r"1+\frac{1}{" * 80 + "1" + "}" * 80,
    "deep roots": r"\sqrt{" * 120 + "2" + "}" * 120,
    "root without an end": r"\sqrt{2+" * 100,
    "boxes without an end": r"\boxed{" * 100,
    "sum over ten million": r"\sum_{n=1}^{10000000} \frac{1}{n^n}",
    "product over ten million": r"\prod_{n=1}^{10000000} n",
    "hard integral": r"\int_0^1 x^{x^x} dx",
    "endless integral": r"\int_{-\infty}^{\infty} \frac{\sin(x^3+x)}{x^5+\pi} dx",
    "huge expansion": "(x+y+z+w)^{5000}",
    "high equation": "x^{30} - 7x^{29} + 3x^{11} - x + 1 = 0",
    "division by zero": r"\frac{1}{0}",
    "recurring without an end": r"0.\overline{" + "123456789" * 100 + "}",
    "1,000 elements": r"\{" + ", ".join(map(str, range(1000))) + r"\}",
    "matrix of 100 by 100": MATRIX,
    "unbalanced matrix": r"\begin{pmatrix}" + r"1 & 2 \\" * 100 + r"\end{pmatrix}",
    "many backslashes": "\\\\" * 450,
    "Python": "__import__('os').system('echo owned')",
}
TEXTS = {
    "no box in 1 MB": "x" * 1_000_000,
    "1 MB of unclosed boxes": r"\boxed{" * 140_000 + "3",
    "a box that 1 MB does not close": r"\boxed{3" + "{}" * 500_000,
    "1 MB of closed boxes": r"\boxed{4}" * 110_000,
    "a box in a box": r"\boxed{\boxed{4}}",
    "NUL bytes around": "\0" * 1000 + r"\boxed{4}" + "\0" * 1000,
}


class PeakMemory:
    """Largest resident memory, in MiB, that any child of this process has while it is open."""

    def __enter__(self):
        self.mib, self._open = 0.0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._open = False
        self._thread.join()

    def _watch(self):
        while self._open:
            for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                try:
                    pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                self.mib = max(self.mib, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            time.sleep(0.005)


@pytest.fixture(scope="module", params=["math_verify", "mathruler"])
def rule(request):
    if request.param == "mathruler":
        pytest.importorskip("mathruler")
    return request.param


@pytest.fixture(scope="module")
def reward(rule):
    reward = MathAnswer(timeout=DEADLINE, memory_mb=MEMORY_MB, num_workers=1, rule=rule)
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def verifier(rule):
    verifier = Verifier(timeout=DEADLINE, memory_mb=MEMORY_MB, num_workers=1, rule=rule)
    yield verifier
    verifier.close()


def completion(text: str, gold: str) -> Completion:
    return Completion(Prompt("row", (), (), gold, {}), "", text, torch.tensor([1]), False)


def is_graded(reward: MathAnswer) -> bool:
    return reward([completion(r"\boxed{x^2-1}", "(x-1)(x+1)")]) == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_earns_nothing_and_the_next_one_is_graded(reward, name):
    # A hang would not come back, and a wrong "right" is neither 0 nor None.
    assert reward([completion(f"\\boxed{{{ANSWERS[name]}}}", "3.5")])[0] in (0.0, None)
    assert is_graded(reward)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_and_time_are_bounded_where_every_answer_reaches_a_worker(verifier):
    pairs = [("x + 3.5", answer) for answer in ANSWERS.values()]
    with PeakMemory() as peak:
        verdicts = verifier.verify(pairs)
    assert len(verdicts) == len(pairs)
    assert True not in verdicts
    assert 0 < peak.mib <= MEMORY_MB
    assert set(verifier.failures) <= {"timeout", "memory", "crash", "error", "length", "gold"}
    assert verifier.verify([("(x-1)(x+1)", "x^2-1")]) == [True]


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_is_read(reward, name):
    gold = "4" if r"\boxed{4}" in TEXTS[name] else "3"
    assert reward([completion(TEXTS[name], gold)]) == [1.0 if gold == "4" else 0.0]


@pytest.mark.parametrize("name", ANSWERS)
def test_nothing_raises_in_this_process(name):
    reward = MathAnswer(num_workers=1)
    reward.answer(completion(f"\\boxed{{{ANSWERS[name]}}}", "3"))
    for gold in ("3", "x", "(1, 2)", r"\{1\}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "x = 1", "5 cm"):
        compare(gold, ANSWERS[name][:1000])
        compare(ANSWERS[name][:1000], gold)
