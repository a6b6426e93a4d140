"""We-Math's four-dimensional score: whether a composite problem is mastered, or right or wrong for another reason."""

from collections.abc import Sequence


def four_dimensional_score(problems: Sequence[tuple[Sequence[bool], bool]]) -> dict[str, float]:
    """Return We-Math's four rates and its overall score, strict and loose, of composite problems.

    Every problem with its sub-problems is one of four cases:

        ================================  ==========================  ============================
        sub-problems                      composite problem wrong     composite problem right
        ================================  ==========================  ============================
        all right                         inadequate generalization   complete mastery
        some wrong (strict)               insufficient knowledge      rote memorization
        some wrong, some right (loose)    insufficient knowledge      complete mastery
        all wrong                         insufficient knowledge      rote memorization
        ================================  ==========================  ============================

    score = (CM + 0.5 · IG) / N over the N problems. IK, IG and CM are rates over N; RM is one over the problems whose
    composite is right, CM + RM, as in the authors' table.

    Source: section 3.4 of We-Math (https://arxiv.org/abs/2407.01284) and its evaluation/four_dimensional_metrics.py.

    Args:
        problems: For each composite problem, which of its sub-problems are right, and whether it is itself.

    Returns:
        Rates in [0, 1] by name; none at all without problems. A rate of rote memorization where no composite is right
        is 0.

    Example:
        >>> score = four_dimensional_score([([True, True], True), ([True, False], True)])
        >>> score["score_strict"], score["rote_memorization_strict"], score["score_loose"]
        (0.5, 0.5, 1.0)
    """
    if not problems:
        return {}
    total = len(problems)
    generalization = sum(all(parts) and not right for parts, right in problems)
    knowledge = sum(not all(parts) and not right for parts, right in problems)
    figures = {"insufficient_knowledge": knowledge / total, "inadequate_generalization": generalization / total}
    right = total - knowledge - generalization
    for kind, enough in (("strict", all), ("loose", any)):
        mastery = sum(enough(parts) and right for parts, right in problems)
        figures[f"complete_mastery_{kind}"] = mastery / total
        figures[f"rote_memorization_{kind}"] = (right - mastery) / right if right else 0.0
        figures[f"score_{kind}"] = (mastery + 0.5 * generalization) / total
    return figures
