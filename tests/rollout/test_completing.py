"""The order of events with a decoder whose logits say themselves which row and token they belong to."""

import pytest
import torch

from mapo.functional.noise import token_noise
from mapo.rollout.abandoning import AbandonedError, abandoned_if
from mapo.rollout.completing import Completing
from mapo.rollout.decoder import Decoder
from mapo.rollout.sampling import draw, token_law
from mapo.types import Sampling

END, SIZE, GROUP = 0, 50, 3


def logits_of(prompt, history):
    """A law that depends on the prompt and on all tokens so far; about one token in eight ends."""
    generator = torch.Generator().manual_seed(hash((prompt, *history)) % 2**31)
    logits = torch.randn(SIZE, generator=generator)
    logits[END] += 2.0
    return logits


class Remembering(Decoder):
    """Knows the tokens of every row, and keeps the books that a decoder has to keep."""

    def __init__(self, rows, prompts, reorders=False):
        self.limit, self.prompts, self.reorders = rows, prompts, reorders
        self.rows, self.stored, self.prefills, self.sizes = [], set(), [], []

    def room(self, owners):
        stored = set(self.stored)
        for count, owner in enumerate(owners):
            stored.add(owner)
            if len(stored) > self.prompts or count == self.limit - len(self.rows):
                return count
        return len(owners)

    def add(self, owners):
        assert self.room(owners) == len(owners) > 0
        self.prefills += [owner for owner in dict.fromkeys(owners) if owner not in self.stored]
        self.stored |= set(owners)
        self.rows += [(owner, ()) for owner in owners]
        return torch.stack([logits_of(owner, ()) for owner in owners])

    def keep(self, running, waiting):
        kept = running.nonzero()[:, 0]
        kept = kept.flip(0) if self.reorders else kept
        self.rows = [self.rows[index] for index in kept]
        self.stored &= {owner for owner, _ in self.rows} | set(waiting)
        return kept

    def advance(self, tokens):
        self.sizes.append(len(tokens))
        self.rows = [(owner, (*past, token)) for (owner, past), token in zip(self.rows, tokens.tolist(), strict=True)]
        return torch.stack([logits_of(owner, past) for owner, past in self.rows])


def completed(decoder, *, num_prompts=8, limit=30, order=None):
    completing = Completing(
        decoder,
        torch.arange(num_prompts) * 7919,
        group_size=GROUP,
        sampling=Sampling(max_completion_tokens=limit),
        banned=torch.tensor([3]),
        ends=torch.tensor([END]),
    )
    return completing.run(list(range(num_prompts * GROUP)) if order is None else order)


def one_by_one(num_prompts=8, limit=30):
    """Each row by itself."""
    for row in range(num_prompts * GROUP):
        ids, logprobs = [], []
        while len(ids) < limit and END not in ids:
            logits = logits_of(row // GROUP, tuple(ids))[None]
            law = token_law(logits, banned=torch.tensor([3]), temperature=1.0)
            noise = token_noise(*torch.tensor([[row // GROUP * 7919], [row % GROUP], [len(ids)]]))
            token, logprob = draw(law, noise, Sampling())
            ids.append(int(token))
            logprobs.append(float(logprob))
        yield ids, logprobs


@pytest.mark.parametrize("reorders", [False, True])
@pytest.mark.parametrize(("rows", "prompts"), [(1, 1), (2, 2), (5, 2), (7, 8), (24, 8)])
def test_every_row_gets_its_own_tokens(rows, prompts, reorders):
    decoder = Remembering(rows, prompts, reorders)
    ids, logprobs = completed(decoder)
    expected = list(one_by_one())
    assert [row.tolist() for row in ids] == [row for row, _ in expected]
    for found, (_, right) in zip(logprobs, expected, strict=True):
        torch.testing.assert_close(found, torch.tensor(right))
    assert sorted(decoder.prefills) == list(range(8))  # each prompt once
    assert len({len(row) for row in ids}) > 4
    assert any(len(row) == 30 for row in ids) or max(map(len, ids)) < 30


def test_order_of_the_queue_changes_nothing():
    rows = [int(row) for prompt in (5, 2, 7, 0, 1, 6, 4, 3) for row in range(prompt * GROUP, (prompt + 1) * GROUP)]
    ids = [row.tolist() for row in completed(Remembering(5, 3), order=rows)[0]]
    assert ids == [row for row, _ in one_by_one()]


def test_rows_that_wait_fill_the_places_of_rows_that_ended():
    waves, refilled = Remembering(24, 8), Remembering(24, 8)
    waves.room = lambda owners: 0 if waves.rows else min(24, len(owners))
    waves.prompts = refilled.prompts = 100
    for decoder in (waves, refilled):
        ids = [row.tolist() for row in completed(decoder, num_prompts=40)[0]]
        assert ids == [row for row, _ in one_by_one(40)]
    tokens = sum(map(len, ids))
    assert len(refilled.sizes) < 0.7 * len(waves.sizes)
    assert sum(refilled.sizes) < 1.25 * tokens


@pytest.mark.parametrize("rows", [4, 40])  # one row of forty is not worth a new batch, but has to go at the limit
def test_no_row_grows_beyond_the_limit(rows):
    decoder = Remembering(rows, rows)
    longest = []
    advance = decoder.advance
    decoder.advance = lambda tokens: longest.append(max(len(past) for _, past in decoder.rows) + 1) or advance(tokens)
    ids, _ = completed(decoder, num_prompts=50, limit=6)
    assert max(map(len, ids)) == 6
    assert max(longest) == 5  # the last token is not fed


def test_a_rollout_is_given_up_before_its_next_step():
    decoder = Remembering(4, 4)
    with pytest.raises(AbandonedError), abandoned_if(lambda: len(decoder.sizes) == 3):
        completed(decoder, num_prompts=50)
    assert len(decoder.sizes) == 3
    completed(Remembering(4, 4))  # outside of the context nothing is asked
