"""Micro-batches hold every row once, within the budget, evenly, and as many on every rank."""

import random

import pytest
import torch

from mapo.modules.micro_batches import even_micro_batches, micro_batches
from mapo.policies.packing import packed_length
from mapo.types import EncodedPrompt, Prompt


def prompt(length, name="row"):
    return EncodedPrompt(Prompt(name, (), (), "", {}), torch.zeros(length, dtype=torch.int64), {}, "")


def group(prompt_length, completions, name="row"):
    shared = prompt(prompt_length, name)
    return [(shared, length) for length in completions]


def random_rows(seed, groups=9, largest=60):
    draw = random.Random(seed)
    rows = [
        row
        for _ in range(groups)
        for row in group(draw.randint(1, largest), [draw.randint(0, largest) for _ in range(draw.randint(1, 8))])
    ]
    draw.shuffle(rows)
    return rows


def tokens(rows, part, shares_prefix):
    if not shares_prefix:
        return len(part) * max(len(rows[i][0].input_ids) + rows[i][1] for i in part)
    groups = {}
    for i in part:
        groups.setdefault(id(rows[i][0]), []).append(rows[i])
    return sum(packed_length(len(g[0][0].input_ids), [length for _, length in g]) for g in groups.values())


@pytest.mark.parametrize("shares_prefix", [True, False])
@pytest.mark.parametrize("max_tokens", [120, 250, 1000, 10**6])
def test_every_row_comes_once_within_the_budget_the_fullest_first(shares_prefix, max_tokens):
    for seed in range(20):
        rows = random_rows(seed)
        parts = micro_batches(rows, max_tokens=max_tokens, shares_prefix=shares_prefix)
        assert sorted(i for part in parts for i in part) == list(range(len(rows)))
        sizes = [tokens(rows, part, shares_prefix) for part in parts]
        assert all(0 < size <= max_tokens for size in sizes)
        assert sizes == sorted(sizes, reverse=True)
        assert len(parts) == 1 or max_tokens < 10**6


def test_a_group_that_fits_stays_together():
    rows = random_rows(3)
    parts = micro_batches(rows, max_tokens=600, shares_prefix=True)  # 8 completions and a prompt take 532 at most
    assert len(parts) > 1
    homes = [{id(rows[i][0]) for i in part} for part in parts]
    assert sum(map(len, homes)) == len(set().union(*homes))


def test_a_group_that_does_not_fit_is_cut_into_as_few_even_slices_as_do():
    rows = group(100, [41, 21, 31, 11, 41, 21])  # 160 without the prompt and the last token of each
    parts = micro_batches(rows, max_tokens=180, shares_prefix=True)
    assert [sum(rows[i][1] - 1 for i in part) for part in parts] == [80, 80]
    assert len(micro_batches(rows, max_tokens=260, shares_prefix=True)) == 1
    assert len(micro_batches(rows, max_tokens=259, shares_prefix=True)) == 2


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_micro_batches_are_about_equally_full(shares_prefix):
    for seed in range(20):
        rows = random_rows(seed, groups=40, largest=20)
        sizes = [
            tokens(rows, part, shares_prefix)
            for part in micro_batches(rows, max_tokens=700, shares_prefix=shares_prefix)
        ]
        assert len(sizes) > 2
        assert min(sizes) > 0.75 * max(sizes)


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_a_row_that_can_not_fit_is_named_with_its_length_and_the_fix(shares_prefix):
    rows = [*group(10, [5, 5]), *group(30, [5, 21], name="geo-7")]
    assert micro_batches(rows, max_tokens=51, shares_prefix=shares_prefix)
    message = r"'geo-7' takes 30 tokens of prompt \+ 21 of completion = 51, more than .*=50; raise it to 51"
    with pytest.raises(ValueError, match=message):
        micro_batches(rows, max_tokens=50, shares_prefix=shares_prefix)


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_ranks_have_as_many_of_every_step(shares_prefix):
    steps = [random_rows(1), random_rows(2, groups=1), [(prompt(5), 1)]]
    settings = {"max_tokens": 200, "shares_prefix": shares_prefix}
    own = [len(micro_batches(rows, **settings)) for rows in steps]
    other = torch.tensor([own[0] + 1, 1, 4])  # what another rank needs
    found = even_micro_batches(steps, **settings, max_over_ranks=lambda here: torch.maximum(here, other))
    assert [len(step) for step in found] == torch.maximum(torch.tensor(own), other).tolist()
    for rows, step in zip(steps, found, strict=True):
        assert sorted(i for part in step for i in part) == list(range(len(rows)))
    assert found[2] == [[0], [], [], []]
    assert [] not in found[0]  # where there are rows enough, they are spread


def test_nothing_is_cut_into_nothing():
    assert micro_batches([], max_tokens=5, shares_prefix=True) == []
    assert micro_batches([], max_tokens=5, shares_prefix=False) == []
