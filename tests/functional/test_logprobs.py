"""Tiled log-probs: equal to the plain formula in value and gradient, in the memory of one tile."""

import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mapo.functional.logprobs import rows_per_tile, tiled_logprobs


def case(rows=23, width=5, vocab=11, dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    head = nn.Linear(width, vocab, bias=bias).to(dtype)
    hidden = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    return hidden, head, torch.randint(2, vocab, (rows,))


def plain(hidden, head, targets, temperature, banned):
    logits = head(hidden) / temperature
    if banned is not None:
        logits = logits.index_fill(-1, banned, float("-inf"))
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def gradients(logprobs, hidden, head):
    weights = torch.linspace(-1, 2, len(logprobs), dtype=logprobs.dtype)
    return torch.autograd.grad((weights * logprobs).sum(), [hidden, *head.parameters()])


@pytest.mark.parametrize("tile", [1, 4, 23, 1000])
@pytest.mark.parametrize("banned", [None, torch.tensor([0, 1])])
def test_equals_the_plain_formula_in_value_and_gradient(tile, banned):
    hidden, head, targets = case()
    expected = plain(hidden, head, targets, 0.7, banned)
    logprobs, entropy = tiled_logprobs(hidden, head, targets, temperature=0.7, banned=banned, tile=tile)
    assert entropy is None
    torch.testing.assert_close(logprobs, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients(logprobs, hidden, head), gradients(expected, hidden, head), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_by_hand():
    # Logits (0, ln 2, ln 5) and T = 1, the last one banned: the law is (1/3, 2/3), its entropy ln 3 - 2/3 ln 2.
    logits = torch.tensor([[1.0, 2.0, 5.0]]).log().repeat(2, 1)
    logprobs, entropy = tiled_logprobs(
        logits, nn.Identity(), torch.tensor([0, 1]), temperature=1.0, banned=torch.tensor([2]), entropy=True
    )
    torch.testing.assert_close(logprobs.exp(), torch.tensor([1 / 3, 2 / 3]))
    torch.testing.assert_close(entropy, (torch.tensor(3.0).log() - 2 / 3 * torch.tensor(2.0).log()).repeat(2))


def test_high_temperature_gives_the_uniform_law_over_allowed_tokens():
    hidden, head, targets = case()
    banned = torch.tensor([0, 1])
    logprobs, entropy = tiled_logprobs(hidden, head, targets, temperature=1e9, banned=banned, entropy=True)
    uniform = torch.full((23,), 9.0, dtype=torch.float64).log()
    torch.testing.assert_close(logprobs, -uniform)
    torch.testing.assert_close(entropy, uniform)


def test_entropy_is_detached_and_changes_no_gradient():
    hidden, head, targets = case()
    without, _ = tiled_logprobs(hidden, head, targets, temperature=0.7, tile=4)
    logprobs, entropy = tiled_logprobs(hidden, head, targets, temperature=0.7, entropy=True, tile=4)
    law = (head(hidden) / 0.7).log_softmax(-1)
    torch.testing.assert_close(entropy, -(law.exp() * law).sum(-1).detach())
    assert not entropy.requires_grad
    for ours, theirs in zip(gradients(logprobs, hidden, head), gradients(without, hidden, head), strict=True):
        assert torch.equal(ours, theirs)


def test_no_rows_still_reach_every_parameter():
    hidden, head, _ = case(rows=0)
    none = torch.empty(0, dtype=torch.int64)
    logprobs, entropy = tiled_logprobs(hidden, head, none, temperature=1.0, banned=torch.tensor([0]), entropy=True)
    assert logprobs.shape == entropy.shape == (0,)
    logprobs.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in head.parameters())


@pytest.mark.parametrize(("tile", "runs"), [(23, 1), (1000, 1), (12, 4)])
def test_only_what_does_not_fit_in_one_tile_is_computed_again(tile, runs):
    hidden, head, targets = case()
    calls = []
    logprobs, _ = tiled_logprobs(hidden, lambda x: calls.append(len(x)) or head(x), targets, temperature=1.0, tile=tile)
    logprobs.sum().backward()
    assert len(calls) == runs


def test_a_tile_is_a_quarter_of_a_gibibyte_and_one_row_at_least():
    for vocabulary in (800, 152_064):
        assert 0.99 * 2**28 < rows_per_tile(vocabulary) * vocabulary * 4 <= 2**28
    assert rows_per_tile(2**27) == 1


def test_low_precision_logits_are_normalised_in_float32():
    hidden, head, targets = case(dtype=torch.bfloat16)
    logprobs, entropy = tiled_logprobs(hidden, head, targets, temperature=0.7, entropy=True)
    assert logprobs.dtype == entropy.dtype == torch.float32
    expected = (head(hidden).float() / 0.7).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    assert torch.equal(logprobs, expected)


def test_no_graph_and_no_grad_under_no_grad():
    hidden, head, targets = case()
    with torch.no_grad():
        logprobs, _ = tiled_logprobs(hidden, head, targets, temperature=1.0, tile=4)
    assert not logprobs.requires_grad
    torch.testing.assert_close(logprobs, plain(hidden, head, targets, 1.0, None).detach())


def test_the_heads_output_is_left_as_it_was():
    # A head may keep its output for its own backward pass (a soft cap does), so it is not overwritten.
    hidden, head, targets = case()
    capped = lambda rows: torch.tanh(head(rows))  # noqa: E731
    logprobs, _ = tiled_logprobs(hidden, capped, targets, temperature=1.0, banned=torch.tensor([0]), tile=4)
    expected = plain(hidden, capped, targets, 1.0, torch.tensor([0]))
    for ours, theirs in zip(gradients(logprobs, hidden, head), gradients(expected, hidden, head), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_banned_target_is_refused_by_its_id():
    hidden, head, targets = case()
    targets[3] = 7
    with pytest.raises(ValueError, match=r"token 7 \(target \d+\) is banned"):
        tiled_logprobs(hidden, head, targets, temperature=1.0, banned=torch.tensor([0, 7]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    hidden, head, targets = case()
    with pytest.raises(ValueError, match="temperature must be > 0"):
        tiled_logprobs(hidden, head, targets, temperature=temperature)


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of storages that ops created and that are still alive, and the most there ever were."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.largest, self.sizes = 0, 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.track(tensor.untyped_storage())
        return result

    def track(self, storage):
        key = storage._cdata
        if key in self.sizes:
            return
        self.sizes[key] = size = storage.nbytes()
        self.live, self.largest = self.live + size, max(self.largest, size)
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.release, key)

    def release(self, key):
        self.live -= self.sizes.pop(key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_that_of_one_tile(dtype):
    rows, width, vocab, tile = 1024, 2, 2000, 64
    hidden, head, targets = case(rows, width, vocab, dtype, bias=False)
    float_tile = tile * vocab * 4
    banned = torch.tensor([0, 1])
    with LiveMemory() as memory:
        logprobs, _ = tiled_logprobs(hidden, head, targets, temperature=0.9, banned=banned, entropy=True, tile=tile)
        held_between_passes = memory.live
        logprobs.sum().backward()
    assert memory.largest == float_tile
    assert memory.peak <= 3.2 * float_tile  # 0.2: the head's gradient, and what is [M] or [M, H]
    assert held_between_passes < 0.1 * float_tile
    with LiveMemory() as untiled:
        plain(hidden, head, targets, 0.9, banned).sum().backward()
    assert untiled.peak > 16 * float_tile  # the whole is 16 tiles: the instrument sees what it should
