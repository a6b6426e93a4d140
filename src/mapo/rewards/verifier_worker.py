r"""The worker process of ``mapo.rewards.verifier``: reads pairs, writes verdicts, one line each.

Run as a script, so that it imports the one library it judges with and nothing heavy. It writes "ready" once it can
judge, then "right", "wrong", "gold" (the gold answer cannot be read) or "error" for every pair, in order, and ends with
its input. Where memory runs out it ends with ``OUT_OF_MEMORY``: what the library holds is in doubt then.
"""

import fcntl
import gc
import json
import logging
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mapo.rewards.confinement import confine, deadline, limit_memory
from mapo.rewards.restricted_eval import restrict_sympy

OUT_OF_MEMORY = 66  # exit status

Parsed = list[Any]


def main(rule: str, seconds: float, memory_mb: int) -> None:
    """Judge pairs from stdin until it ends.

    Args:
        rule: "math_verify" or "mathruler".
        seconds: After which the kernel ends this process if one pair is still being judged. The parent's own deadline
            comes first; this one is for an orphan, which a computation inside C code would keep alive otherwise.
        memory_mb: Address space of this process, in MiB.
    """
    limit_memory(memory_mb)
    logging.disable()
    # Above 2, which a parent without a terminal may have closed: ``confine`` takes 1 and 2.
    verdicts = os.fdopen(fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3), "w")
    judge = {"math_verify": math_verify_verdict, "mathruler": mathruler_verdict}[rule]
    judge("x", "0.5")  # the first pair imports the library and builds its grammars; errors here reach the terminal
    restrict_sympy()
    confine()
    gc.freeze()  # what has been imported stays; and algebra makes many short-lived objects
    gc.set_threshold(50_000, 20, 20)
    _send(verdicts, "ready")
    for line in sys.stdin:
        gold, answer = json.loads(line)
        with deadline(seconds):
            verdict = _judge(judge, gold, answer)
        _send(verdicts, verdict)


def _judge(judge: Callable[[str, str], str], gold: str, answer: str) -> str:
    try:
        return judge(gold, answer)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception:  # untrusted text: whatever a parser trips over is a failed verdict, not the end of the worker
        return "error"


def math_verify_verdict(gold: str, answer: str) -> str:
    """Judge by math-verify (https://github.com/huggingface/Math-Verify)."""
    from math_verify import verify

    golds = _parse(gold)
    if not golds:
        return "gold"
    answers = _parse(answer)
    return "right" if answers and verify(golds, answers, timeout_seconds=None, raise_on_error=True) else "wrong"


@lru_cache(maxsize=1024)  # the gold of a group comes once per completion, and its wrong answers are often alike, too
def _parse(text: str) -> Parsed:
    from math_verify import LatexExtractionConfig, parse

    # LaTeX alone: its other way of reading takes the last number out of what it cannot read ("3 | 5" is no 5).
    readers = (LatexExtractionConfig(),)
    boxed = rf"\boxed{{{text}}}"
    return parse(boxed, readers, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)


def mathruler_verdict(gold: str, answer: str) -> str:
    """Judge by mathruler (https://github.com/hiyouga/MathRuler), the rule of the paper's code."""
    from mathruler.grader import grade_answer

    return "right" if grade_answer(answer, gold) else "wrong"


def _send(verdicts: Any, verdict: str) -> None:
    verdicts.write(verdict + "\n")
    verdicts.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
