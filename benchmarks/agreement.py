"""Whether both sides do the same work: the same completions must give the same gradient."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.mapo_side import MapoSide
from benchmarks.task import Task
from benchmarks.tiny_models import SPECIAL
from benchmarks.trl_side import TrlSide

TOLERANCE = 1e-4
"""Largest relative difference of gradients in fp32, whose sums the two sides take in different orders."""


class Agreement(NamedTuple):
    """What two sides made of the same completions, some of them shorter than the others.

    Attributes:
        gradient_norm: Of our gradient, before any clipping.
        gradient_difference: Norm of the difference of the gradients, relative to it.
        entropy_difference: Of the mean entropy per token, in nats.
    """

    gradient_norm: float
    gradient_difference: float
    entropy_difference: float


def check_agreement(task: Task, vocabulary: int) -> Agreement:
    """Train one step on the same random completions on both sides and compare the gradients.

    Args:
        task: Its first step is taken, without clipping.
        vocabulary: Of the model; completions hold words alone, the last one of the full length.

    Raises:
        RuntimeError: The sides differ.
    """
    one_step = replace(task, phases=task.phases[:1], script=random_script(task, vocabulary), clip_norm=None)
    ours, theirs = MapoSide(one_step, keep_gradient=True), TrlSide(one_step, keep_gradient=True)
    ours.step()
    theirs.step(fair_head=True)
    norm, difference = compare(ours.gradient or {}, theirs.gradient or {})
    entropy = abs(ours.metrics["train/entropy"] - theirs.metrics["entropy"])
    found = Agreement(norm, difference, entropy)
    if ours.completion_tokens != theirs.completion_tokens or not max(difference, entropy) <= TOLERANCE:
        raise RuntimeError(
            f"the two sides do not do the same work: {found}, "
            f"{ours.completion_tokens} and {theirs.completion_tokens} completion tokens"
        )
    return found


def random_script(task: Task, vocabulary: int) -> list[list[int]]:
    """Return random completions of half the length to the full length."""
    generator = torch.Generator().manual_seed(0)
    full = task.completion_tokens
    lengths = torch.randint(max(1, full // 2), full + 1, (task.rows,), generator=generator).tolist()
    words = vocabulary - len(SPECIAL)
    return [torch.randint(1, words, (length,), generator=generator).tolist() for length in [*lengths[:-1], full]]


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[float, float]:
    """Return the norm of our gradient and that of the difference, relative to it.

    Raises:
        RuntimeError: The two do not hold the same weights.
    """
    if ours.keys() != theirs.keys() or not ours:
        raise RuntimeError(f"gradients of different weights: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    norm = _norm(ours.values())
    return norm, _norm([ours[name] - theirs[name] for name in ours]) / norm


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())
