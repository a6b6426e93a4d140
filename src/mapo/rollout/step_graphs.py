"""Decoding steps recorded as CUDA graphs; not yet measured on a GPU."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.policies.decoding import Completions, Prompts

Replay = Callable[[list[Tensor]], Tensor]
Step = Callable[[Int[Tensor, " N"], tuple[Tensor, Tensor], Prompts, Completions], Float[Tensor, "N V"]]

_EAGER_USES = 2  # a recording costs as much as several steps, so it is for shapes that come back


class _Shape(NamedTuple):
    """What a recording is made for: two steps of one shape differ in the values of tensors alone."""

    rows: int
    own_tokens: int
    prompts: int
    width: int
    first_column: int
    masked: bool


class StepGraphs:
    """Runs steps padded to a few shapes; a shape that comes back is recorded, and replayed without Python in between.

    A decoding step of a 7B model is some thousand small kernels, which Python launches more slowly than a GPU runs
    them. Rows are padded to a multiple of an eighth of their number, their tokens to a multiple of 128; the rows that
    fill up write to free places of the store.
    """

    def __init__(
        self,
        step: Step,
        *,
        max_rows: int,
        max_tokens: int,
        record: Callable[[Callable[..., Tensor], list[Tensor]], Replay] | None = None,
    ) -> None:
        """Start without recordings.

        Args:
            step: ``decode_step`` with its weights and stored keys and values, which stay where they are.
            max_rows: Rows that the store has.
            max_tokens: Tokens that a row of the store has.
            record: Turns a function and example inputs into one that replays it; ``GraphRecorder`` when None.
        """
        self._step, self._max_rows, self._max_tokens = step, max_rows, max_tokens
        self._record = GraphRecorder() if record is None else record
        self._uses: Counter[_Shape] = Counter()
        self._replays: dict[_Shape, Replay] = {}
        self._logits: Tensor | None = None

    def __call__(
        self, tokens: Int[Tensor, " N"], rotation: tuple[Tensor, Tensor], prompts: Prompts, own: Completions
    ) -> Float[Tensor, "N V"]:
        """Run one step, as ``decode_step`` does."""
        shape = _Shape(
            rows=min(_rounded(len(tokens), max(8, 2 ** len(tokens).bit_length() // 16)), self._max_rows),
            own_tokens=min(_rounded(own.longest + 1, 128), self._max_tokens),
            prompts=prompts.count,
            width=prompts.width,
            first_column=prompts.columns.start,
            masked=prompts.mask is not None,
        )
        inputs = _padded(shape, tokens, rotation, prompts, own)
        self._uses[shape] += 1
        if self._uses[shape] <= _EAGER_USES:
            return self._run(shape, *inputs)[: len(tokens)]
        if shape not in self._replays:
            self._replays[shape] = self._record(partial(self._run_in_place, shape), inputs)
        return self._replays[shape](inputs)[: len(tokens)]

    def _run_in_place(self, shape: _Shape, *inputs: Tensor) -> Tensor:
        """Leave the logits where those of all recordings are, so that none keeps memory of its own."""
        logits = self._run(shape, *inputs)
        if self._logits is None:
            self._logits = logits.new_empty(self._max_rows, logits.shape[1])
        return self._logits[: shape.rows].copy_(logits)

    def _run(self, shape: _Shape, *inputs: Tensor) -> Tensor:
        tokens, cosines, sines, lengths, row_at, place_of, *masks = inputs
        hidden = torch.arange(shape.own_tokens, device=tokens.device) > lengths[:, None]
        own_mask = torch.zeros(hidden.shape, dtype=cosines.dtype, device=tokens.device)
        own_mask = own_mask.masked_fill_(hidden, float("-inf"))[:, None, None]
        columns = slice(shape.first_column, None)
        prompts = Prompts(shape.prompts, shape.width, row_at, place_of, columns, masks[0] if masks else None)
        return self._step(tokens, (cosines, sines), prompts, Completions(lengths, shape.own_tokens - 1, own_mask))


class GraphRecorder:
    """Records CUDA graphs that share their memory: one is replayed at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[..., Tensor], inputs: list[Tensor]) -> Replay:
        """Return a replay of a function's kernels; what it returns is overwritten by the next one."""
        own = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up in the first run, which must not be recorded
            function(*own)
        torch.cuda.current_stream().wait_stream(stream)
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = function(*own)

        def replay(given: list[Tensor]) -> Tensor:
            for mine, new in zip(own, given, strict=True):
                mine.copy_(new)
            graph.replay()
            return output

        return replay


def _padded(
    shape: _Shape, tokens: Tensor, rotation: tuple[Tensor, Tensor], prompts: Prompts, own: Completions
) -> list[Tensor]:
    """Return all inputs of a step; the rows that fill up are of length 0 and stand at no place of a prompt."""
    row_at = prompts.row_at
    if row_at is None:
        row_at = torch.arange(shape.prompts * shape.width, device=tokens.device)
    rows = (tokens, *rotation, own.lengths)
    tokens, cosines, sines, lengths, place_of = (_filled(tensor, shape.rows) for tensor in (*rows, prompts.place_of))
    masks = [] if prompts.mask is None else [prompts.mask]
    return [tokens, cosines, sines, lengths, row_at, place_of, *masks]


def _filled(tensor: Tensor, rows: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
