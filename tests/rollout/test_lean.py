import pytest
import torch

from mapo.policies.policy import Policy
from mapo.rollout.capacity import Capacity
from mapo.rollout.lean import LeanDecoder
from mapo.rollout.padded import PaddedDecoder

TEXTS = ("a", "what is it", "one, two, three, four", "hm", "which of these")


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False).eval()


@pytest.fixture(scope="module")
def prompts(policy, make_prompt):
    sizes = [(84, 84)], [], [(60, 200), (30, 30)], [(150, 30)], []
    raw = [make_prompt(text, *size, sample_id=text) for text, size in zip(TEXTS, sizes, strict=True)]
    return [policy.renderer.encode(prompt) for prompt in raw]


class Alone:
    """Every row by itself, in a batch of one, by transformers' own forward."""

    def __init__(self, policy, prompts):
        self.policy, self.prompts, self.rows = policy, prompts, []

    def add(self, owners):
        new = [PaddedDecoder(self.policy, self.prompts, Capacity(1, 1)) for _ in owners]
        self.rows += new
        return torch.cat([row.add([owner]) for row, owner in zip(new, owners, strict=True)])

    def advance(self, tokens):
        return torch.cat([row.advance(token[None]) for row, token in zip(self.rows, tokens, strict=True)])


@torch.no_grad()
def test_rows_come_and_go_in_any_order(policy, prompts):
    lean = LeanDecoder(policy, prompts, Capacity(rows=6, prompts=3, prefill_tokens=40), completion_tokens=20)
    alone = Alone(policy, prompts)
    generator = torch.Generator().manual_seed(0)
    waiting = [2, 2, 0, 0, 0, 4, 1, 1, 1, 3, 2, 4]  # prompt 2 comes back after it was dropped
    sizes = set()
    while waiting or alone.rows:
        room = lean.room(waiting)
        if room:
            new = waiting[: int(torch.randint(1, room + 1, (), generator=generator))]
            waiting = waiting[len(new) :]
            torch.testing.assert_close(lean.add(new), alone.add(new), atol=1e-4, rtol=0)
        for _ in range(2):
            tokens = torch.randint(3, 90, (len(alone.rows),), generator=generator)
            sizes.add(len(tokens))
            torch.testing.assert_close(lean.advance(tokens), alone.advance(tokens), atol=1e-4, rtol=0)
        running = torch.rand(len(alone.rows), generator=generator) < 0.6
        kept = lean.keep(running, waiting[:1])
        assert sorted(kept.tolist()) == running.nonzero()[:, 0].tolist()
        alone.rows = [alone.rows[index] for index in kept]
    assert len(sizes) >= 3


def test_room_is_for_rows_and_for_prompts(policy, prompts):
    with torch.no_grad():
        lean = LeanDecoder(policy, prompts, Capacity(rows=4, prompts=2), completion_tokens=4)
        assert lean.room([0, 0, 0, 0, 0]) == 4
        assert lean.room([0, 1, 2]) == 2
        assert lean.room([0]) == 1
        lean.add([0, 0, 1])
        assert lean.room([1, 1]) == 1
        assert lean.room([2]) == 0
        lean.keep(torch.tensor([False, False, True]), [])
        assert lean.room([2, 2, 2]) == 3
        lean.keep(torch.tensor([True]), [0])
        lean.keep(torch.tensor([False]), [1])
        assert lean.room([1, 0, 2]) == 2


def test_waiting_prompt_does_not_pass_through_the_model_again(policy, prompts):
    calls = []
    hook = policy.model.model.language_model.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        lean = LeanDecoder(policy, prompts, Capacity(rows=2, prompts=2), completion_tokens=4)
        first = lean.add([0, 0])
        lean.keep(torch.tensor([False, False]), [0])
        assert torch.equal(lean.add([0]), first[:1])
        assert len(calls) == 1
        lean.keep(torch.tensor([False]), [])
        lean.add([0])
        assert len(calls) == 2
    hook.remove()


def test_prompts_pass_through_the_model_in_portions(policy, prompts):
    batches = []
    hook = policy.model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: batches.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    lengths = [len(prompt.input_ids) for prompt in prompts]
    with torch.no_grad():
        for tokens in (1, 2 * max(lengths), 10**6):
            LeanDecoder(policy, prompts, Capacity(5, 5, tokens), completion_tokens=2).add([0, 1, 2, 3, 4])
    hook.remove()
    assert [rows for rows, _ in batches[:5]] == [1] * 5
    assert all(rows * width <= 2 * max(lengths) for rows, width in batches[5:-1])
    assert 2 <= len(batches[5:-1]) < 5
    assert batches[-1] == (5, max(lengths))


def test_weights_are_those_of_the_moment(policy, prompts):
    weight = policy.model.model.language_model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        before = LeanDecoder(policy, prompts, Capacity(1, 1), completion_tokens=4)
        before.add([1])
        weight *= 1.5
        after, own = (LeanDecoder(policy, prompts, Capacity(1, 1), completion_tokens=4), Alone(policy, prompts))
        after.add([1])
        own.add([1])
        logits = [decoder.advance(torch.tensor([40])) for decoder in (before, after, own)]
        weight /= 1.5
    torch.testing.assert_close(logits[1], logits[2], atol=1e-4, rtol=0)
    assert (logits[0] - logits[2]).abs().max() > 1e-2


def test_autocast_casts_the_weights_once(policy, prompts):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        lean, own = LeanDecoder(policy, prompts, Capacity(2, 1), completion_tokens=4), Alone(policy, prompts)
        assert lean.dtype == torch.bfloat16
        lean.add([0, 0])
        own.add([0, 0])
        found, right = lean.advance(torch.tensor([40, 41])), own.advance(torch.tensor([40, 41]))
    # Eight bits of every product, in two layers.
    assert (found - right).abs().max() < 0.1 * right.float().std()
