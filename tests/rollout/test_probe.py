import pytest
import torch

from mapo.policies import decoding
from mapo.policies.policy import Policy
from mapo.rollout import probe as probing
from mapo.rollout.capacity import Footprint
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling


@pytest.fixture
def policy(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False)


@pytest.fixture
def lines(monkeypatch):
    found = []
    monkeypatch.setattr(probing, "rank_zero_info", found.append)
    return found


def roll(policy, make_prompt):
    prompts = [policy.renderer.encode(make_prompt("what is it"))]
    sampling = Sampling(max_completion_tokens=8)
    rollouts = TransformersEngine().generate(policy, prompts, group_size=3, sampling=sampling, streams=[5])
    return [completion.token_ids.tolist() for completion in rollouts.completions[0]]


def test_known_architecture_decodes_lean_and_says_nothing(policy, make_prompt, lines):
    roll(policy, make_prompt)
    found = probing.probe(policy, policy.renderer.encode(make_prompt("x")), reason=None)
    assert found.reason is None
    # Two layers, two key heads of 16, keys and values of 4 bytes.
    assert found.footprint == Footprint(cache_bytes=512, prefill_bytes=0, vocabulary=106, shared=True)
    assert lines == []


def test_forward_that_differs_is_not_used(policy, make_prompt, lines, monkeypatch):
    expected = roll(Policy(path=policy.model.config._name_or_path).load_model(reference=False), make_prompt)
    right = decoding.merge
    monkeypatch.setattr(decoding, "merge", lambda first, second: right(first, second) * 1.01)
    for _ in range(2):
        assert roll(policy, make_prompt) == expected
    (line,) = lines
    assert "transformers' own forward, which is slower: its logits would differ by" in line


def test_other_attention_implementation_is_named(policy, make_prompt, lines):
    policy.model.set_attn_implementation("eager")
    roll(policy, make_prompt)
    assert "attention implementation is 'eager'" in lines[0]


def test_comparison_is_made_once_per_policy_and_precision(policy, make_prompt, monkeypatch):
    calls, compare = [], probing._difference
    monkeypatch.setattr(probing, "_difference", lambda *args: calls.append(1) or compare(*args))
    for _ in range(2):
        roll(policy, make_prompt)
    assert len(calls) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        roll(policy, make_prompt)
    assert len(calls) == 2
