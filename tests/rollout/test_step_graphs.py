"""What surrounds the recording; the recording itself needs a GPU."""

import pytest
import torch

from mapo.policies.policy import Policy
from mapo.rollout import lean
from mapo.rollout.capacity import Capacity
from mapo.rollout.lean import LeanDecoder
from mapo.rollout.step_graphs import StepGraphs

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def policy(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False).eval()


@pytest.fixture(scope="module")
def prompts(policy, make_prompt):
    return [policy.renderer.encode(make_prompt(text)) for text in ("a", "what is it", "one, two, three")]


class FixedInputs:
    """Records like a graph: a replay sees new values in the old tensors, and nothing but tensors may change."""

    def __init__(self):
        self.recorded, self.replayed = [], 0

    def __call__(self, function, inputs):
        own = [tensor.clone() for tensor in inputs]
        self.recorded.append([tuple(tensor.shape) for tensor in own])

        def replay(given):
            self.replayed += 1
            for mine, new in zip(own, given, strict=True):
                mine.copy_(new)
            return function(*own)

        return replay


def run(policy, prompts, *, graphs, record=None, device="cpu"):
    """Rows that come and go, with all logits."""
    decoder = LeanDecoder(policy, prompts, Capacity(13, 3), completion_tokens=150, cuda_graphs=graphs)
    if record is not None:
        decoder._step = StepGraphs(decoder._step, max_rows=13, max_tokens=150, record=record)
    generator, found = torch.Generator().manual_seed(0), []
    decoder.add([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    for dropped in ([], [3, 4], [0, 1, 2], []):
        if not dropped and found:
            decoder.add([0, 2, 2])
        running = torch.ones(len(decoder._place), dtype=torch.bool)
        running[dropped] = False
        decoder.keep(running.to(device), [])
        for _ in range(35):
            tokens = torch.randint(3, 90, (len(decoder._place),), generator=generator)
            found.append(decoder.advance(tokens.to(device)).clone())
    return found


@torch.no_grad()
def test_padded_and_replayed_steps_give_the_same_logits(policy, prompts):
    record = FixedInputs()
    expected = run(policy, prompts, graphs=False)
    for found, right in zip(run(policy, prompts, graphs=True, record=record), expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-4, rtol=0)
    assert record.replayed > 0.9 * len(expected)
    assert len(record.recorded) <= 5  # four sets of rows, one of which passes 128 tokens
    assert {shapes[0] for shapes in record.recorded} <= {(8,), (13,)}


def test_no_graphs_without_a_gpu(policy, prompts, monkeypatch):
    monkeypatch.setattr(lean, "StepGraphs", None)
    with torch.no_grad():
        LeanDecoder(policy, prompts, Capacity(1, 1), completion_tokens=2, cuda_graphs=True)


@needs_cuda
@torch.no_grad()
def test_graphs_give_the_logits_of_the_cpu(policy, prompts):
    expected = run(policy, prompts, graphs=False)
    policy.to("cuda")
    try:
        for found, right in zip(run(policy, prompts, graphs=True, device="cuda"), expected, strict=True):
            torch.testing.assert_close(found.cpu(), right, atol=1e-2, rtol=0)
    finally:
        policy.to("cpu")
