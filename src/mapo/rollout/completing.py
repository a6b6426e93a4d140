"""From waiting rows to completions: draw, drop what ended, fill up, advance."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.functional.noise import token_noise
from mapo.functional.stages import tell_stage
from mapo.rollout.abandoning import check_abandoned
from mapo.rollout.decoder import Decoder
from mapo.rollout.sampling import draw, token_law
from mapo.types import Sampling


class Completing:
    """Samples the completions of a decoder's prompts; row i is completion i % G of prompt i // G."""

    def __init__(
        self,
        decoder: Decoder,
        streams: Int[Tensor, " B"],
        *,
        group_size: int,
        sampling: Sampling,
        banned: Int[Tensor, " K"],
        ends: Int[Tensor, " E"],
    ) -> None:
        """Start without rows.

        Args:
            decoder: Of B prompts.
            streams: Key of the noise of each prompt.
            group_size: G.
            sampling: How tokens are drawn.
            banned: Ids that are never drawn.
            ends: Ids that end a completion.
        """
        self._decoder, self._streams, self._group_size = decoder, streams, group_size
        self._sampling, self._banned, self._ends = sampling, banned, ends
        nothing = streams.new_empty(0)
        self._rows, self._lengths, self._running = nothing, nothing, nothing.to(torch.bool)
        self._logits: Tensor | None = None
        self._final = streams.new_zeros(len(streams) * group_size)
        self._steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def run(self, waiting: Sequence[int]) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
        """Return all completions in the order of their numbers, and the log-probs of their tokens, on the CPU.

        Args:
            waiting: The numbers of all rows in the order in which they start.

        Raises:
            AbandonedError: That is asked for, before every step.
        """
        while waiting or len(self._rows):
            check_abandoned()
            waiting = self._fill_up(waiting)
            tell_stage("completions sampled", len(self._final) - len(waiting) - len(self._rows), len(self._final))
            tokens = self._draw()
            tokens = self._drop(tokens, waiting)
            if len(self._rows):
                self._logits = self._decoder.advance(tokens)
        return self._gather()

    def _fill_up(self, waiting: Sequence[int]) -> Sequence[int]:
        owners = [row // self._group_size for row in waiting]
        room = self._decoder.room(owners)
        # A few rows would pass a prompt through the model for little; an eighth is what is dropped at once, too.
        if room == 0 or (room < len(waiting) and 8 * room < len(self._rows)):
            return waiting
        first = self._decoder.add(owners[:room])
        new = torch.tensor(waiting[:room], device=self._rows.device)
        self._logits = first if self._logits is None or not len(self._rows) else torch.cat([self._logits, first])
        self._rows = torch.cat([self._rows, new])
        self._lengths = torch.cat([self._lengths, torch.zeros_like(new)])
        self._running = torch.cat([self._running, torch.ones_like(new, dtype=torch.bool)])
        return waiting[room:]

    def _draw(self) -> Int[Tensor, " N"]:
        rows, size = self._rows, self._group_size
        assert self._logits is not None
        law = token_law(self._logits, banned=self._banned, temperature=self._sampling.temperature)
        noise = token_noise(self._streams[rows // size], rows % size, self._lengths)
        tokens, logprobs = draw(law, noise, self._sampling)
        self._steps.append((rows, self._lengths, tokens, logprobs))
        self._final[rows] += self._running
        self._lengths = self._lengths + 1
        self._running = self._running & ~torch.isin(tokens, self._ends)
        return tokens

    def _drop(self, tokens: Int[Tensor, " N"], waiting: Sequence[int]) -> Int[Tensor, " R"]:
        """Drop finished rows where they are many, and return the tokens of the others."""
        full = self._lengths >= self._sampling.max_completion_tokens
        running = self._running & ~full
        alive, must = torch.stack([running.sum(), full.sum()]).tolist()
        # Finished rows cost as much as others; but each new number of rows costs something, too.
        if not must and alive > len(running) * 7 // 8:
            return tokens
        kept = self._decoder.keep(running, [row // self._group_size for row in waiting])
        self._rows, self._lengths, self._running = self._rows[kept], self._lengths[kept], self._running[kept]
        return tokens[kept]

    def _gather(self) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
        cuts = self._final.tolist()
        ids = self._final.new_zeros(len(cuts), max(cuts))
        logprobs = self._steps[0][3].new_zeros(ids.shape)
        for rows, places, tokens, values in self._steps:
            inside = places < ids.shape[1]
            rows, places = rows[inside], places[inside]
            ids[rows, places], logprobs[rows, places] = tokens[inside], values[inside]
        return _cut(ids.cpu(), cuts), _cut(logprobs.cpu(), cuts)


def _cut(padded: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    return [row[:length].clone() for row, length in zip(padded, lengths, strict=True)]
