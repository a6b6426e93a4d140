"""An evaluated batch as one sample per prompt: what was answered, what it is worth, what the prompt belongs to."""

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from mapo.functional.visible import visible
from mapo.metrics.samples import Sample
from mapo.modules.records import EvaluationRecord
from mapo.rewards.base import Reward
from mapo.types import Completion, Prompt, Scores

AnswerReader = Callable[[Completion], str | None]


def answer_reader(rewards: Sequence[Reward]) -> AnswerReader | None:
    """Return the function by which the accuracy component reads answers; None where it reads none."""
    accuracy = _accuracy(rewards)
    if accuracy is None or type(accuracy).answer is Reward.answer:
        return None
    return accuracy.answer


def judged(scores: Scores, rewards: Sequence[Reward]) -> Bool[Tensor, "B G"]:
    """Return where the accuracy could be told, whatever other components had to say; elsewhere it is 0."""
    accuracy = _accuracy(rewards)
    return scores.valid if accuracy is None else ~scores.components[accuracy.name].isnan()


def samples_of(record: EvaluationRecord, rewards: Sequence[Reward]) -> list[Sample]:
    """Return the prompts of an evaluated batch with all their completions.

    Args:
        record: The batch.
        rewards: What it was scored by; samples hold what the accuracy among them reads, and the values of the others.
    """
    scores, read = record.scores, answer_reader(rewards)
    accuracy, success = scores.accuracy.tolist(), scores.success.tolist()
    verdicts = judged(scores, rewards).tolist()
    values = {reward.name: scores.components[reward.name].tolist() for reward in rewards if not reward.is_accuracy}
    return [
        Sample(
            sample_id=group[0].prompt.sample_id,
            accuracy=tuple(accuracy[b]),
            judged=tuple(verdicts[b]),
            truncated=tuple(completion.truncated for completion in group),
            success=tuple(success[b]),
            lengths=tuple(len(completion.token_ids) for completion in group),
            answers=() if read is None else tuple(map(read, group)),
            components={name: tuple(rows[b]) for name, rows in values.items()},
            categories=categories_of(group[0].prompt),
        )
        for b, group in enumerate(record.rollouts.completions)
    ]


def categories_of(prompt: Prompt) -> dict[str, tuple[str, ...]]:
    """Return what a prompt's metadata say of its categories, every value as text; one without a value is left out.

    Raises:
        ValueError: They map no names to values.

    Example:
        >>> categories_of(Prompt("a", (), (), "1", {"categories": {"level": 5, "skills": ["angles", "areas"]}}))
        {'level': ('5',), 'skills': ('angles', 'areas')}
    """
    given = prompt.metadata.get("categories") or {}
    if not isinstance(given, Mapping):
        raise ValueError(
            f"categories of sample {prompt.sample_id!r} must map names to values, as {{'level': 5}} does, got {given!r}"
        )
    texts = {visible(str(name)): _texts(values) for name, values in given.items()}
    return {name: values for name, values in texts.items() if values}


def _accuracy(rewards: Sequence[Reward]) -> Reward | None:
    return next((reward for reward in rewards if reward.is_accuracy), None)


def _texts(values: object) -> tuple[str, ...]:
    listed = values if isinstance(values, list | tuple | set | frozenset) else [values]
    texts = sorted({visible(str(value).strip()) for value in listed if value is not None})
    return tuple(text for text in texts if text)
