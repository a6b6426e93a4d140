"""Rows that continue the same prompt as one unpadded sequence: the prompt once, then its completions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from mapo.policies.batching import next_position
from mapo.types import EncodedPrompt


@dataclass(frozen=True)
class Run:
    """Completions of one length, one after the other.

    Attributes:
        start: Place of the first token in the pack.
        count: Completions.
        length: Tokens of each.
    """

    start: int
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """Their places in the pack."""
        return slice(self.start, self.start + self.count * self.length)


@dataclass(frozen=True)
class Block:
    """A prompt and, right behind it, its completions; none of its tokens sees another block.

    Attributes:
        start: Place of the prompt's first token in the pack.
        prompt_length: Tokens of the prompt, at least one.
        runs: The completions, without those that add no token.
    """

    start: int
    prompt_length: int
    runs: tuple[Run, ...]

    @property
    def prompt(self) -> slice:
        """Places of the prompt."""
        return slice(self.start, self.start + self.prompt_length)

    @property
    def completions(self) -> slice:
        """Places of all completions."""
        return slice(self.prompt.stop, self.runs[-1].tokens.stop if self.runs else self.prompt.stop)


class Pack(NamedTuple):
    """N rows, ready to be run through a network.

    Attributes:
        inputs: ``input_ids`` [1, L], ``position_ids`` [1, L] or [A, 1, L], and the prompts' features.
        blocks: Who sees whom: a completion its prompt and itself, both causally.
        sources: Place of the state that predicts each completion token, row by row; M tokens in all.
    """

    inputs: dict[str, Tensor]
    blocks: tuple[Block, ...]
    sources: Int[Tensor, " M"]


def packed_length(prompt_length: int, completion_lengths: Sequence[int]) -> int:
    """Return the tokens that a group takes in a pack; a completion's last token predicts nothing and is left out.

    Example:
        >>> packed_length(100, [5, 1, 0])
        104
    """
    return prompt_length + sum(max(length - 1, 0) for length in completion_lengths)


def pack(
    prompts: Sequence[EncodedPrompt],
    completions: Sequence[Int[Tensor, " T"]],
    positions: Sequence[Int[Tensor, "A P"]],
    *,
    device: torch.device,
) -> Pack:
    """Return N rows as one sequence, in which every prompt and its images come once.

    Args:
        prompts: N prompts; rows share a prompt when it is the same object, wherever they are in the list.
        completions: N completions, empty ones allowed.
        positions: Rotary positions of each prompt's tokens, on A axes; every completion continues them on all axes.
        device: Where the tensors are put.
    """
    builders: list[_BlockBuilder] = []
    place = 0
    for rows in _groups(prompts):
        builders.append(_BlockBuilder(place, prompts[rows[0]], positions[rows[0]], rows, completions))
        place = builders[-1].stop
    position_ids = torch.cat([builder.position_ids for builder in builders], dim=1)
    inputs = {
        "input_ids": torch.cat([builder.input_ids for builder in builders])[None],
        "position_ids": position_ids if len(position_ids) == 1 else position_ids[:, None],
    }
    inputs |= _features(builders)
    sources = {row: places for builder in builders for row, places in builder.sources}
    return Pack(
        {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()},
        tuple(builder.block for builder in builders),
        torch.cat([sources[row] for row in range(len(prompts))]).to(device, non_blocking=True),
    )


def _groups(prompts: Sequence[EncodedPrompt]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(id(prompt), []).append(row)
    return list(groups.values())


class _BlockBuilder:
    def __init__(
        self,
        start: int,
        prompt: EncodedPrompt,
        positions: Int[Tensor, "A P"],
        rows: Sequence[int],
        completions: Sequence[Int[Tensor, " T"]],
    ) -> None:
        self.prompt = prompt
        # In order of length, so that completions of one length are one run.
        order = sorted(rows, key=lambda row: -len(completions[row]))
        inner = [completions[row][:-1] for row in order]
        self.block = Block(start, len(prompt.input_ids), tuple(_runs(start + len(prompt.input_ids), inner)))
        self.stop = self.block.completions.stop
        self.input_ids = torch.cat([prompt.input_ids, *inner])
        steps = torch.cat([torch.arange(len(ids)) for ids in inner])
        following = (next_position(positions) + steps).expand(len(positions), -1)
        self.position_ids = torch.cat([positions, following], dim=1)
        self.sources = list(self._sources(order, completions))

    def _sources(
        self, order: Sequence[int], completions: Sequence[Int[Tensor, " T"]]
    ) -> Iterator[tuple[int, Int[Tensor, " T"]]]:
        place = self.block.prompt.stop
        for row in order:
            length = len(completions[row])
            places = torch.arange(place - 1, place - 1 + length)
            places[:1] = self.block.prompt.stop - 1  # the first token is predicted by the prompt's last one
            yield row, places
            place += max(length - 1, 0)


def _runs(start: int, completions: Sequence[Int[Tensor, " T"]]) -> Iterator[Run]:
    for length, equal in groupby(len(ids) for ids in completions):
        if length:
            run = Run(start, len(list(equal)), length)
            yield run
            start = run.tokens.stop


def _features(builders: Sequence[_BlockBuilder]) -> dict[str, Tensor]:
    names = sorted({name for builder in builders for name in builder.prompt.features})
    return {name: _feature(name, builders) for name in names}


def _feature(name: str, builders: Sequence[_BlockBuilder]) -> Tensor:
    present = [b.prompt.features[name] for b in builders if name in b.prompt.features]
    lengths = [len(b.prompt.input_ids) for b in builders if name in b.prompt.features]
    if any(tensor.shape != (1, length) for tensor, length in zip(present, lengths, strict=True)):
        return torch.cat(present)  # patches or images, one prompt after the other
    aligned = present[0].new_zeros(1, builders[-1].stop)
    for builder in builders:
        if name in builder.prompt.features:
            aligned[:, builder.block.prompt] = builder.prompt.features[name]
    return aligned
