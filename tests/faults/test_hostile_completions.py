"""Thousands of completions that nobody should write are parsed, graded, logged and shown like any others.

The normal suite draws a thousand, the thorough one twenty thousand; ``hostile_text`` says what they are.
"""

import itertools
import json
import logging
import math
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fake_reasoning_gym import fake_library
from hostile_text import Hostile, as_json_has_it, completions
from injection import NOTE, THOROUGH
from lightning.pytorch.loggers import TensorBoardLogger

from mapo.callbacks.completion_cells import completion_cells
from mapo.callbacks.completion_rows import evaluation_rows, phase_rows
from mapo.callbacks.image_grid import image_grid
from mapo.callbacks.json_lines import JsonLines
from mapo.callbacks.logger_media import LoggerMedia
from mapo.modules.records import EvaluationRecord, PhaseRecord
from mapo.rewards.function import FunctionReward
from mapo.rewards.label import LabelMatch
from mapo.rewards.length import LengthCredit
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.reasoning_gym_score import ReasoningGymScore
from mapo.rewards.scoring import score_completions
from mapo.rewards.think_format import ThinkFormat
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

__all__ = ["fake_library"]

SEEDS, NUM = ((0, 1, 2, 3), 5000) if THOROUGH else ((0,), 300)
BATCH = 100
SECONDS = 20.0  # for one completion by all rewards, on a busy machine
MEMORY_MB = 1024  # of a worker: its limit
ENTRY = {"question": "What follows 4?", "answer": "5", "metadata": {"pair": (4, 1)}}
GROWTH_MB = 200  # of this process, over thousands of completions of up to a megabyte


def share_of_letters(completions, **_):
    return [sum(map(str.isalpha, text)) / max(1, len(text)) for text in completions]


@pytest.fixture
def rewards(fake_library, seed):
    """Return the components in sets of which each has one accuracy; those with other workers for every second seed."""
    limits = {"timeout": 1.0, "memory_mb": MEMORY_MB, "num_workers": 1}
    formal = [ThinkFormat(), LengthCredit(0.1, limit=50), FunctionReward(f"{__name__}.share_of_letters", weight=0.1)]
    sets = [[MathAnswer(**limits), *formal], [LabelMatch()], [LabelMatch(require_boxed=False)]]
    if seed % 2 == 0:
        sets += [[MathAnswer(rule="mathruler", **limits)], [ReasoningGymScore(timeout=1.0)]]
    for components in sets:  # starts the workers
        score_completions(components, [[as_completion(Hostile("", r"\boxed{x < 2}", "x > 3", ()), 0)]])
    for reward in itertools.chain(*sets):
        failures_of(reward).clear()
    yield sets
    for reward in itertools.chain(*sets):
        reward.close()


class Slowest:
    """The completion that took longest so far."""

    def __init__(self) -> None:
        self.seconds, self.what = 0.0, ""

    def measure(self, rewards, drawn: Hostile, completion: Completion) -> list[Scores]:
        before = time.monotonic()
        scores = [score_completions(components, [[completion]]) for components in rewards]
        seconds = time.monotonic() - before
        if seconds > self.seconds:
            self.seconds, self.what = seconds, f"{drawn.kind}, {drawn.text[:60]!r}"
        assert seconds < SECONDS, (seconds, drawn)
        return scores


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_a_model_writes_is_graded_and_shown(rewards, tmp_path, inject, capfd, caplog, request, seed):
    drawn = itertools.islice(completions(seed), NUM)
    slowest, logs, own = Slowest(), Logs(tmp_path), []
    with inject("hostile completions", times=NUM), caplog.at_level(logging.WARNING):
        while batch := list(itertools.islice(drawn, BATCH)):
            answers = [as_completion(one, len(logs.texts) + place) for place, one in enumerate(batch)]
            scores = [slowest.measure(rewards, *pair) for pair in zip(batch, answers, strict=True)]
            assert_sane(scores, rewards)
            assert_the_same_again(scores, rewards, answers)
            logs.write(answers, scores, rewards)
            own.append(resident_mb("self"))
            assert max(map(peak_mb, workers()), default=0) < MEMORY_MB
        assert own[-1] - own[2] < GROWTH_MB, own
        logs.check()
        out, err = capfd.readouterr()
        assert not raw(out + err + caplog.text)
    request.node.user_properties.append(
        (NOTE, f"slowest of {NUM:,} hostile completions: {slowest.seconds:.1f} s ({slowest.what})")
    )


def as_completion(drawn: Hostile, number: int) -> Completion:
    message = {"role": "user", "content": f"{drawn.text[:500]} ?"}
    metadata = {"choices": list(drawn.choices)} if drawn.choices else {}
    metadata |= {"task": "algebra" if number % 2 else "evaluated", "entry": ENTRY}
    # What a row brings is shown beside what the model wrote; and of an image prompt the picture's caption.
    prompt = Prompt(f"{number} {drawn.text[:20]}", (message,), (), drawn.gold, metadata)
    return Completion(prompt, "", drawn.text, torch.arange(number % 60), number % 7 == 0)


def assert_sane(scores: Sequence[Sequence[Scores]], rewards) -> None:
    for one in itertools.chain(*scores):
        values = torch.stack([one.rewards, one.accuracy, *(v.nan_to_num(0.0) for v in one.components.values())])
        assert bool(values.isfinite().all())
        assert bool(((values >= 0) & (values <= 1)).all())
    for place, components in enumerate(rewards):
        for reward in components:
            unscored = sum(bool(one[place].components[reward.name].isnan()) for one in scores)
            failures = failures_of(reward)
            assert unscored == failures.total()
            assert set(failures) <= {"timeout", "memory", "crash", "error", "length", "gold"}
            failures.clear()


def assert_the_same_again(scores: Sequence[Sequence[Scores]], rewards, answers: Sequence[Completion]) -> None:
    """Grade every fourth once more, all together, if it had a verdict: a second run into a deadline proves nothing."""
    for place, components in enumerate(rewards):
        kept = [i for i in range(0, len(scores), 4) if bool(scores[i][place].valid)]
        again = score_completions(components, [[answers[i] for i in kept]])
        for column, i in enumerate(kept):
            if bool(again.valid[0, column]):
                assert again.rewards[0, column] == scores[i][place].rewards, answers[i]
        for reward in components:
            failures_of(reward).clear()


def failures_of(reward) -> Counter[str]:
    """Return the verdicts that failed, by reason, of components that have such a count."""
    return reward._worker.failures if isinstance(reward, ReasoningGymScore) else getattr(reward, "failures", Counter())


class Logs:
    """What a run writes of its completions, and what must be found there."""

    def __init__(self, folder: Path) -> None:
        self.file, self.texts = JsonLines(folder / "completions.jsonl"), []
        self.evaluation = JsonLines(folder / "evaluation.jsonl")
        self.logger = TensorBoardLogger(folder, name=None, version="")
        self.media, self.folder = LoggerMedia((self.logger,), None), folder

    def write(self, answers: Sequence[Completion], scores: Sequence[Sequence[Scores]], rewards) -> None:
        rollouts = Rollouts(
            tuple(EncodedPrompt(one.prompt, torch.arange(4), {}, "") for one in answers),
            tuple((one,) for one in answers),
            tuple((torch.zeros(len(one.token_ids)),) for one in answers),
            1.0,
        )
        first = [one[0] for one in scores]
        parts = {name: torch.cat([getattr(one, name) for one in first]) for name in ("rewards", "success")}
        parts |= {name: torch.cat([getattr(one, name) for one in first]) for name in ("accuracy", "valid")}
        components = {name: torch.cat([one.components[name] for one in first]) for name in first[0].components}
        whole = Scores(**parts, components=components)
        step = len(self.texts)
        rows = phase_rows(PhaseRecord(step, rollouts, whole, whole.rewards), epoch=0)
        self.file.append(rows)
        record = EvaluationRecord("val", "hostile", "sampled", rollouts, whole)
        self.evaluation.append(evaluation_rows(record, phase=0, rewards=rewards[0]))
        prompts = [one.prompt for one in answers]
        self.media.table("completions/train", *completion_cells(prompts, rows, max_characters=1000), step)
        pictured = [
            prompt._replace(images=(torch,)) for prompt in prompts[:2]
        ]  # an unreadable one is said in its place
        self.media.figure("images/train", image_grid(pictured), step)
        self.texts += [one.text for one in answers]

    def check(self) -> None:
        for file in (self.file, self.evaluation):
            lines = file.path.read_text(encoding="utf-8").splitlines()  # which cuts at more than line ends
            assert len(lines) == len(self.texts)
            for line, text in zip(lines, self.texts, strict=True):
                row = json.loads(line)
                assert ascii(row["text"]) == ascii(as_json_has_it(text))  # no report could say how others differ
                assert row["reward"] is not None
                assert math.isfinite(row["reward"])
                assert not any(is_control(character) for character in line)
        shown = [self.logger.experiment.close(), *shown_texts(self.folder)][1:]
        assert len(shown) == len(self.texts) / BATCH
        for text in shown:
            assert not raw(text)
            assert "<" not in text.replace("<br>", "")


def shown_texts(folder: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    events = [event for path in folder.glob("events.*") for event in LegacyEventFileLoader(str(path)).Load()]
    values = [value for event in events for value in event.summary.value if value.HasField("tensor")]
    return [
        value.tensor.string_val[0].decode("utf-8")
        for value in values
        if value.metadata.plugin_data.plugin_name == "text"
    ]


def is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029"


def raw(text: str) -> set[str]:
    """Return the characters of a text that a terminal or a browser would obey, line ends aside."""
    obeyed = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {c for c in set(text) - {"\n", "\u200c", "\u200d"} if unicodedata.category(c) in obeyed}


def workers() -> list[str]:
    """Return the worker processes of this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [child for child in children if b"_worker.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def peak_mb(process: str) -> int:
    return _status(process, "VmHWM")


def resident_mb(process: str) -> int:
    return _status(process, "VmRSS")


def _status(process: str, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith(name)), 0)
