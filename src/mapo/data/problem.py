"""What the built-in task families share: a problem with its worked solution, and splits that cannot overlap."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from PIL import Image

from mapo.data.prompting import build_messages
from mapo.types import Prompt

INSTRUCTION = "Think inside <think></think>, then answer in \\boxed{}."
"""Says the two things the format reward asks for in the few words that the built-in model knows."""

_HELD_OUT_SHARE = 4  # one problem in four may be validated on, and is never trained on


class Solution(NamedTuple):
    """A line of thought and the answer it ends in."""

    thought: str
    answer: str


class Problem(NamedTuple):
    """One drawn problem.

    Attributes:
        kind: The kind of figure or drawing style; splits are made of kinds.
        question: What is asked, without the instruction.
        image: An RGB picture, or None for a problem in words.
        choices: The labels to choose from; empty where the answer is a number.
        worked: The right solution.
        misread: A solution that reasons rightly from a wrong reading of the problem.
    """

    kind: str
    question: str
    image: Image.Image | None
    choices: tuple[str, ...]
    worked: Solution
    misread: Solution


class Split(NamedTuple):
    """Which problems a split draws: its kinds in turn (repeat one for more of it), from which side."""

    kinds: tuple[str, ...]
    held_out: bool


class Family(NamedTuple):
    """A task family: its name, its splits by name, and the function that draws a problem of a kind."""

    name: str
    splits: Mapping[str, Split]
    draw: Callable[[str, Random], Problem]


def content_hash(question: str, image: Image.Image | None) -> int:
    """Return a 64-bit hash of the text and the pixels, equal for equal problems whatever their ids."""
    digest = hashlib.blake2b(question.encode(), digest_size=8)
    if image is not None:
        digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "big")


def draw_problems(family: Family, split: str, num: int, seed: int, *, distinct: bool = True) -> list[Problem]:
    """Draw problems of a split, the same ones for the same arguments.

    The side of a problem follows from its content alone: what a held-out split can draw, no other split ever draws.

    Args:
        family: The task family.
        split: A key of ``family.splits``.
        num: Number of problems; the kinds of the split take turns.
        seed: Another seed gives other problems of the same side.
        distinct: Never draw a problem twice; there are only so many of some kinds.

    Returns:
        ``num`` problems.

    Raises:
        ValueError: An unknown split, or more problems than the kinds can give.
    """
    if split not in family.splits:
        raise ValueError(f"split must be one of {sorted(family.splits)} for {family.name}, got {split!r}")
    kinds, held_out = family.splits[split]
    rngs = [Random(f"{family.name}/{split}/{seed}/{turn}") for turn in range(len(kinds))]
    streams = [_stream(family, kind, held_out, distinct, rng) for kind, rng in zip(kinds, rngs, strict=True)]
    return [next(streams[index % len(kinds)]) for index in range(num)]


def _stream(family: Family, kind: str, held_out: bool, distinct: bool, rng: Random) -> Iterator[Problem]:
    seen: set[int] = set()
    misses = 0
    while misses < 2000:
        problem = family.draw(kind, rng)
        key = content_hash(problem.question, problem.image)
        if (key % _HELD_OUT_SHARE == 0) != held_out or (distinct and key in seen):
            misses += 1
            continue
        seen.add(key)
        misses = 0
        yield problem
    raise ValueError(
        f"{family.name} has only {len(seen)} different problems of kind {kind!r} on this side; ask for fewer"
    )


def as_prompt(problem: Problem, sample_id: str, *, instruction: str = INSTRUCTION, system: str | None = None) -> Prompt:
    """Return the problem as a raw row: the picture, the question, the instruction."""
    pictures = () if problem.image is None else (problem.image,)
    messages, images = build_messages(problem.question, pictures, instruction=instruction, system=system)
    metadata: dict[str, object] = {"kind": problem.kind, "categories": {"kind": problem.kind}}
    if problem.choices:
        metadata["choices"] = problem.choices
    return Prompt(sample_id, messages, images, problem.worked.answer, metadata)


def draw_prompts(family: Family, split: str, num: int, seed: int, **wording: Any) -> list[Prompt]:
    """Draw a split as raw rows whose sample ids name family, split, seed and position."""
    problems = draw_problems(family, split, num, seed)
    return [as_prompt(problem, f"{family.name}/{split}/{seed}/{i}", **wording) for i, problem in enumerate(problems)]
