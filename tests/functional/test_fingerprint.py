import pytest
import torch

from mapo.functional import fingerprint
from mapo.functional.fingerprint import bit_sums, weights_fingerprint


def weights(**changes):
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(40, 3, generator=generator), "b": torch.randn(7, generator=generator)} | changes


def test_sums_by_hand():
    # 3 + 5 + 7, and 1 * 3 + 3 * 5 + 5 * 7
    assert bit_sums(torch.tensor([3, 5, 7])) == (15, 53)
    assert bit_sums(torch.tensor([[3], [5]], dtype=torch.uint8)) == (8, 18)
    assert bit_sums(torch.tensor(1.0)) == (0x3F800000, 0x3F800000)
    assert bit_sums(torch.empty(0)) == (0, 0)


def test_a_single_bit_a_swap_a_name_a_type_or_a_shape_changes_it():
    plain = weights()
    nudged, swapped = plain["a"].clone(), plain["a"].clone()
    nudged[39, 2] = torch.nextafter(nudged[39, 2], torch.tensor(9.0))
    swapped[[0, 1]] = swapped[[1, 0]]
    others = [
        {"a": nudged, "b": plain["b"]},
        {"a": swapped, "b": plain["b"]},
        {"c": plain["a"], "b": plain["b"]},
        {"a": plain["a"].view(torch.int32), "b": plain["b"]},
        {"a": plain["a"].reshape(3, 40), "b": plain["b"]},
        {"a": plain["a"]},
    ]
    prints = [weights_fingerprint(other) for other in [plain, *others]]
    assert len(set(prints)) == len(prints)


def test_order_layout_and_pieces_do_not_matter(monkeypatch):
    plain = weights()
    expected = weights_fingerprint(plain)
    assert weights_fingerprint(dict(reversed(plain.items()))) == expected
    assert weights_fingerprint(plain | {"a": plain["a"].t().contiguous().t()}) == expected
    monkeypatch.setattr(fingerprint, "_PIECE", 5)
    assert weights_fingerprint(plain) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.bool, torch.int64])
def test_every_type_of_weight_is_read(dtype):
    ones, zeros = torch.ones(3, 2).to(dtype), torch.zeros(3, 2).to(dtype)
    assert weights_fingerprint({"w": ones}) != weights_fingerprint({"w": zeros})


def test_large_numbers_wrap_around():
    first, second = bit_sums(torch.full((4,), 2**62 + 1))
    assert first % 2**64 == 4 * (2**62 + 1) % 2**64
    assert second % 2**64 == 16 * (2**62 + 1) % 2**64
