import pytest
import torch

from mapo.policies.decoding import KeyValues, attend, merge, products_attention


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def asked():
    return random(3, 2, 5, 8, seed=0), KeyValues(random(3, 2, 11, 8, seed=1), random(3, 2, 11, 8, seed=2))


def hide(lengths, total):
    hidden = torch.arange(total) >= torch.tensor(lengths)[:, None]
    return torch.zeros(hidden.shape, dtype=torch.float64).masked_fill(hidden, -torch.inf)[:, None, None]


def by_hand(queries, keys, values, mask, scaling):
    scores = queries @ keys.transpose(-1, -2) * scaling + mask
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return weights @ values, scores.exp().sum(-1).log()


@pytest.mark.parametrize("way", [attend, products_attention])
@pytest.mark.parametrize("lengths", [(11, 11, 11), (11, 4, 1)])
def test_attention_and_its_sums_by_hand(asked, way, lengths):
    queries, seen = asked
    mask = hide(lengths, 11)
    expected = by_hand(queries, seen.keys, seen.values, mask, 0.3)
    given = None if min(lengths) == 11 else mask
    for found, right in zip(way(queries, seen, given, 0.3), expected, strict=True):
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize("way", [attend, products_attention])
def test_two_parts_merge_to_the_whole(asked, way):
    queries, seen = asked
    parts = [way(queries, seen.part(3, columns), None, 0.5) for columns in (slice(0, 4), slice(4, None))]
    torch.testing.assert_close(merge(*parts), way(queries, seen, None, 0.5)[0])


def test_merge_of_a_far_weaker_part_is_the_other():
    one, two = (torch.full((2, 4), value) for value in (1.0, 2.0))
    merged = merge((one, torch.tensor([0.0, 0.0])), (two, torch.tensor([-200.0, 200.0])))
    assert torch.equal(merged, torch.stack([one[0], two[1]]))


def test_part_is_a_view():
    seen = KeyValues(torch.zeros(3, 2, 11, 8), torch.zeros(3, 2, 11, 8))
    seen.part(2, slice(3, 5)).keys[:] = 1.0
    assert seen.keys.sum() == 2 * 2 * 2 * 8
