"""The worker process of ``ReasoningGymScore``: reads jobs, writes one line per job.

Run as a script, so that it imports reasoning-gym and nothing heavy. A job is pickled, as JSON would make lists of the
tuples that some verifiers compare: (task, config, entry, answer). The line is "ready" once, then a score, or "error"
where the verifier cannot score the entry at all.
"""

import contextlib
import json
import os
import pickle
import sys
from functools import lru_cache
from typing import Any

from mapo.rewards.confinement import confine, deadline, limit_memory
from mapo.rewards.restricted_eval import read_value, restrict_sympy


def main(seconds: float, memory_mb: int) -> None:
    """Score answers from stdin until it ends.

    Args:
        seconds: After which the kernel ends this process if one answer is still being judged. The parent's own deadline
            comes first; this one is for an orphan.
        memory_mb: Address space of this process, in MiB.
    """
    verdicts = os.fdopen(os.dup(1), "w")
    import reasoning_gym  # noqa: F401  an error here reaches the terminal

    restrict_sympy()
    limit_memory(memory_mb)
    confine()
    _send(verdicts, "ready")
    with contextlib.suppress(EOFError):
        while True:
            task, config, entry, answer = pickle.load(sys.stdin.buffer)
            with deadline(seconds):
                verdict = judge(_dataset(task, json.dumps(config)), entry, answer)
            _send(verdicts, verdict)


def judge(dataset: Any, entry: Any, answer: str) -> str:
    """Return the verifier's score as a text.

    Some verifiers raise on what they cannot read. Such an answer is wrong, unless the right one raises as well: then it
    is the verifier that fails.
    """
    try:
        return repr(float(dataset.score_answer(answer, entry)))
    except Exception:  # untrusted text meets a hundred verifiers, and any of them may trip over it
        try:
            dataset.score_answer(entry["answer"], entry)
        except Exception:  # whatever it is, nothing can be said of this entry
            return "error"
        return "0.0"


@lru_cache(maxsize=64)
def _dataset(task: str, config: str) -> Any:
    from reasoning_gym import create_dataset

    dataset = create_dataset(task, **json.loads(config), seed=0, size=1)
    vars(sys.modules[type(dataset).__module__])["eval"] = read_value
    return dataset


def _send(verdicts: Any, verdict: str) -> None:
    verdicts.write(verdict + "\n")
    verdicts.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
