"""Completions of a phase or an evaluated batch as plain rows, one per completion."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mapo.modules.answers import answer_reader, categories_of, judged
from mapo.modules.records import EvaluationRecord, PhaseRecord
from mapo.rewards.base import Reward
from mapo.types import Rollouts, Scores


def phase_rows(record: PhaseRecord, *, epoch: int) -> list[dict[str, Any]]:
    """Return the completions of a rollout phase with their scores and advantages.

    Args:
        record: The phase.
        epoch: Passes over the data finished before it.
    """
    advantages = record.advantages.flatten().tolist()
    rows = _completion_rows(record.rollouts, record.scores)
    return [
        {"phase": record.index, "epoch": epoch, **row, "advantage": _number(advantage)}
        for row, advantage in zip(rows, advantages, strict=True)
    ]


def evaluation_rows(record: EvaluationRecord, *, phase: int, rewards: Sequence[Reward] = ()) -> list[dict[str, Any]]:
    """Return the completions of an evaluated batch with their scores and verdicts.

    Args:
        record: The batch.
        phase: Rollout phases finished before it.
        rewards: What the batch was scored by; the accuracy among them gives the verdicts and reads the answers.
    """
    read, verdicts = answer_reader(rewards), judged(record.scores, rewards).flatten().tolist()
    place = {"stage": record.stage, "set": record.set_name, "mode": record.mode, "phase": phase}
    completions = [completion for group in record.rollouts.completions for completion in group]
    rows = _completion_rows(record.rollouts, record.scores)
    return [
        {
            **place,
            **row,
            "answer": completion.prompt.answer,
            "extracted_answer": None if read is None else read(completion),
            "verdict": _verdict(row["accuracy"], is_judged),
            "categories": {name: list(values) for name, values in categories_of(completion.prompt).items()},
        }
        for row, completion, is_judged in zip(rows, completions, verdicts, strict=True)
    ]


def _verdict(accuracy: float, is_judged: bool) -> str:
    if not is_judged:
        return "failed"
    return "right" if accuracy == 1 else "wrong"


def _completion_rows(rollouts: Rollouts, scores: Scores) -> Iterator[dict[str, Any]]:
    rewards, success = scores.rewards.tolist(), scores.success.tolist()
    accuracy, valid = scores.accuracy.tolist(), scores.valid.tolist()
    components = {name: values.tolist() for name, values in scores.components.items()}
    for b, group in enumerate(rollouts.completions):
        for g, completion in enumerate(group):
            yield {
                "sample_id": completion.prompt.sample_id,
                "index": g,
                "text": completion.prefill + completion.text,
                "num_tokens": len(completion.token_ids),
                "truncated": completion.truncated,
                "reward": _number(rewards[b][g]),
                "components": {name: _number(values[b][g]) for name, values in components.items()},
                "success": bool(success[b][g]),
                "accuracy": _number(accuracy[b][g]),
                "valid": bool(valid[b][g]),
            }


def _number(value: float) -> float | None:
    """Return a float32 without its noise digits; None for what JSON has no word for."""
    return round(value, 6) if math.isfinite(value) else None
