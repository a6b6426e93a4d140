"""Sampled completions follow the law of the model, token by token."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from mapo.policies.policy import Policy
from mapo.rollout.sampling import token_law, truncate
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling

NUM = 6000


@pytest.fixture
def policy(save_tiny, tiny_text_settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy(path=str(save_tiny(Qwen2ForCausalLM(Qwen2Config(**tiny_text_settings))))).load_model(
            reference=False
        )


def law_after(policy, prompt, tokens, sampling):
    with torch.no_grad():
        logits = policy.model(input_ids=torch.cat([prompt.input_ids, torch.tensor(tokens).long()])[None]).logits[:, -1]
    law = token_law(logits, banned=torch.tensor(policy.renderer.banned_ids), temperature=sampling.temperature)
    weights = truncate(law, top_p=sampling.top_p, top_k=sampling.top_k)[0].double()
    return weights / weights.sum()


def check(counts, law):
    """Chi-square test of counts against a law, tokens that are expected less than five times taken together."""
    assert not counts[law == 0].any()
    expected = law * counts.sum()
    rare = expected < 5
    pooled = torch.cat(
        [torch.stack([counts, expected])[:, ~rare], torch.stack([counts, expected])[:, rare].sum(1)[:, None]], dim=1
    )
    found, right = pooled[:, pooled[1] > 0]
    freedom = len(found) - 1
    assert freedom >= 1
    chi_square = float(((found - right) ** 2 / right).sum())
    # Wilson and Hilferty's approximation of the quantile 0.9999.
    assert chi_square < freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 12, "top_p": 0.8}, {"temperature": 1.5}]
)
def test_first_and_second_tokens_follow_the_law(policy, make_prompt, settings):
    sampling = Sampling(max_completion_tokens=2, **settings)
    prompt = policy.renderer.encode(make_prompt("what is the area"))
    rollouts = TransformersEngine(max_batch_rows=500).generate(
        policy, [prompt], group_size=NUM, sampling=sampling, streams=[123]
    )
    completions = [completion.token_ids.tolist() for completion in rollouts.completions[0]]
    size = len(policy.renderer.tokenizer)
    first = torch.tensor([ids[0] for ids in completions])
    check(torch.bincount(first, minlength=size).double(), law_after(policy, prompt, [], sampling))
    counts = torch.bincount(first, minlength=size)
    counts[list(policy.renderer.eos_ids)] = 0
    common = int(counts.argmax())
    second = torch.tensor([ids[1] for ids in completions if ids[0] == common])
    check(torch.bincount(second, minlength=size).double(), law_after(policy, prompt, [common], sampling))
