"""The question that asks for one class of a closed set."""

from collections.abc import Sequence


def closed_question(what: str, labels: Sequence[str], *, verb: str = "show") -> str:
    """Ask which of some classes a picture shows, and name them all.

    Args:
        what: What the classes are, as a noun: "emotion".
        labels: The classes, in the order in which they are named.
        verb: What the picture does with one of them: "show", "evoke".

    Returns:
        One line without image markers, so that the picture comes before it.

    Raises:
        ValueError: There are fewer than two classes, or one is empty or there twice.

    Example:
        >>> closed_question("emotion", ["awe", "fear", "sadness"], verb="evoke")
        'Which emotion does the picture evoke? Choose from awe, fear, sadness.'
    """
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise ValueError(f"labels must be two or more different classes, none of them empty, got {list(labels)}")
    return f"Which {what} does the picture {verb}? Choose from {', '.join(labels)}."
