"""Sampling noise: the hash is what it claims to be, and the token drawn with it always is a possible one."""

import math

import pytest
import torch

from mapo.functional.noise import inverse_cdf, stream_key, token_noise

MASK = (1 << 64) - 1
FROZEN_KEY = 2637240181060843162
FROZEN_NOISE = [0.19586393929922574, 0.9803631388766479, 0.9877636250354758]


def splitmix(key: int) -> int:
    """The published step in Python's unbounded integers: no wrap-around, no sign."""
    key = (key + 0x9E3779B97F4A7C15) & MASK
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & MASK
    return key ^ (key >> 31)


def noise_in_python(stream: int, completion: int, position: int) -> float:
    key = splitmix(stream & MASK)
    key = splitmix((key + completion) & MASK)
    key = splitmix((key + position) & MASK)
    return (key >> 11) / 2**53


def grid(streams: int, completions: int, positions: int) -> torch.Tensor:
    keys = [stream_key(0, "train", 0, f"row-{i}", 0) for i in range(streams)]
    s, c, p = torch.meshgrid(torch.tensor(keys), torch.arange(completions), torch.arange(positions), indexing="ij")
    return token_noise(s.flatten(), c.flatten(), p.flatten()).view(streams, completions, positions)


def test_splitmix_matches_the_published_sequence():
    # First three outputs of the reference implementation for the state 1234567.
    state, expected = 1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix((state + i * 0x9E3779B97F4A7C15) & MASK) for i in range(3)] == expected


def test_noise_equals_arithmetic_in_python_integers():
    streams = [0, 1, -1, 2**63 - 1, -(2**63), stream_key(1, "train", 2, "x", 3)]
    cases = [(s, c, p) for s in streams for c in (0, 1, 11) for p in (0, 1, 2047)]
    noise = token_noise(*(torch.tensor(column) for column in zip(*cases, strict=True)))
    assert noise.tolist() == [noise_in_python(*case) for case in cases]


def test_frozen_values():
    # A change of these numbers changes every rollout of every seed.
    assert stream_key(0, "train", 0, "row-1", 0) == FROZEN_KEY
    key = torch.tensor([FROZEN_KEY] * 3)
    assert token_noise(key, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])).tolist() == FROZEN_NOISE


@pytest.mark.parametrize(
    "other",
    [(1, "train", 0, "a", 0), (0, "val", 0, "a", 0), (0, "train", 1, "a", 0), (0, "train", 0, "b", 0),
     (0, "train", 0, "a", 1), (0, 'train", 0, "a', 0, "", 0), (0, "train", 0, 'a", 0', 0)],
)  # fmt: skip
def test_every_argument_and_no_quotation_trick_changes_the_key(other):
    assert stream_key(*other) != stream_key(0, "train", 0, "a", 0)


def test_key_takes_any_text_and_fits_an_int64_tensor():
    keys = [stream_key(-1, "väl", 0, text, 0) for text in ("", "三角形", "\ud800", "x" * 10_000)]
    assert len(set(keys)) == 4
    assert torch.tensor(keys, dtype=torch.int64).tolist() == keys


def test_noise_is_uniform():
    noise = grid(20, 10, 500).flatten()
    counts = torch.histc(noise, bins=100, min=0.0, max=1.0)
    expected = noise.numel() / 100
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 99 - 4 * math.sqrt(2 * 99) < chi_square < 99 + 4 * math.sqrt(2 * 99)
    ordered = noise.sort().values
    distance = (ordered - torch.arange(len(ordered)) / len(ordered)).abs().max()
    assert float(distance) * math.sqrt(len(ordered)) < 1.95  # Kolmogorov-Smirnov at 0.1 %
    assert float(ordered[0]) >= 0.0
    assert float(ordered[-1]) < 1.0


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_neighbours_are_independent(dim):
    noise = grid(30, 30, 100)
    first, second = noise.narrow(dim, 0, noise.shape[dim] - 1), noise.narrow(dim, 1, noise.shape[dim] - 1)
    cells = (first * 8).long() * 8 + (second * 8).long()
    counts = torch.bincount(cells.flatten(), minlength=64).double()
    expected = cells.numel() / 64
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 63 + 4 * math.sqrt(2 * 63)


def test_layout_changes_nothing():
    torch.manual_seed(0)
    streams = torch.tensor([stream_key(0, "train", 0, str(i), 0) for i in range(50)])
    completion, position = torch.randint(0, 12, (50,)), torch.randint(0, 2048, (50,))
    whole = token_noise(streams, completion, position)
    order = torch.randperm(50)
    assert torch.equal(token_noise(streams[order], completion[order], position[order]), whole[order])
    alone = [token_noise(streams[i : i + 1], completion[i : i + 1], position[i : i + 1]) for i in range(50)]
    assert torch.equal(torch.cat(alone), whole)
    assert torch.equal(token_noise(streams, completion.to(torch.int32), position.to(torch.int16)), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_bits():
    streams = torch.tensor([stream_key(0, "train", 0, str(i), 0) for i in range(1000)])
    indices = torch.arange(1000)
    on_gpu = token_noise(streams.cuda(), indices.cuda(), indices.cuda())
    assert torch.equal(on_gpu.cpu(), token_noise(streams, indices, indices))


def test_tokens_by_hand():
    # Cumulative .2 .5 .5 1: u = .2 is already past the first token, .5 past the second and never the third.
    probs = torch.tensor([[0.2, 0.3, 0.0, 0.5]], dtype=torch.float64).expand(5, 4)
    noise = torch.tensor([0.0, 0.19, 0.2, 0.49, 0.5], dtype=torch.float64)
    assert inverse_cdf(probs, noise).tolist() == [0, 0, 1, 1, 3]


def test_scaling_a_row_changes_nothing():
    torch.manual_seed(0)
    probs, noise = torch.rand(200, 50, dtype=torch.float64), torch.rand(200, dtype=torch.float64)
    assert torch.equal(inverse_cdf(probs, noise), inverse_cdf(probs * 0.125, noise))


@pytest.mark.parametrize("noise", [0.0, 5e-324, 0.5, 1 - 2**-53, 1.0])
def test_a_token_of_probability_zero_is_never_drawn(noise):
    torch.manual_seed(0)
    probs = torch.rand(100, 37).masked_fill(torch.rand(100, 37) < 0.7, 0.0)
    probs[:, 5] = 1e-12
    probs[:, [0, -1]] = 0.0
    tokens = inverse_cdf(probs, torch.full((100,), noise, dtype=torch.float64))
    assert bool((probs.gather(1, tokens[:, None]) > 0).all())


def test_largest_noise_reaches_the_last_possible_token_past_rounding():
    probs = torch.full((1, 10), 0.1)  # float32 tenths do not add to 1
    probs[0, 9] = 0.0
    assert inverse_cdf(probs, torch.tensor([1 - 2**-53], dtype=torch.float64)).tolist() == [8]


def test_drawn_tokens_follow_the_law():
    probs = torch.tensor([0.5, 0.25, 0.0, 0.125, 0.125])
    noise = grid(20, 10, 100).flatten()
    counts = torch.bincount(inverse_cdf(probs.expand(len(noise), 5), noise), minlength=5)
    error = (counts / len(noise) - probs).abs()
    assert bool((error <= 4 * (probs * (1 - probs) / len(noise)).sqrt()).all())


@pytest.mark.parametrize("bad", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_row_without_a_law_is_refused_by_number(bad):
    with pytest.raises(ValueError, match=r"probs\[1\] sums to"):
        inverse_cdf(torch.tensor([[0.5, 0.5], bad]), torch.tensor([0.5, 0.5]))
