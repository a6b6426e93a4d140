"""Accuracy of the answer that most completions of a prompt give."""

import math
from collections.abc import Sequence


def majority_accuracy(answers: Sequence[str | None], accuracy: Sequence[float]) -> float:
    """Return the expected accuracy of a plurality vote over the completions of one prompt.

    maj@n: the most frequent answer is given; of several equally frequent ones each with the same probability.

    Source: self-consistency, Wang et al. 2022 (https://arxiv.org/abs/2203.11171), there with one draw among ties.

    Args:
        answers: What each completion answers, alike where it means the same; None does not vote.
        accuracy: Of each completion, in [0, 1].

    Returns:
        Between 0 and 1; 0 where nobody votes. Where completions of one answer were judged differently, as when a
        verdict failed, that answer is worth their mean.

    Raises:
        ValueError: There are not as many answers as accuracies.

    Example:
        >>> majority_accuracy(["4", "4", "5", None], [1.0, 1.0, 0.0, 0.0])
        1.0
        >>> majority_accuracy(["4", "5"], [1.0, 0.0])
        0.5
    """
    votes: dict[str, list[float]] = {}
    for answer, value in zip(answers, accuracy, strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(value)
    most = max(map(len, votes.values()), default=0)
    winners = [math.fsum(values) / most for values in votes.values() if len(values) == most]
    return math.fsum(winners) / len(winners) if winners else 0.0
