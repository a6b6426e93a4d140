"""vLLM in this process, for real on its CPU build: what it samples, what it is given, and what it leaves alone."""

import os
import random
from dataclasses import replace

import numpy
import pytest
import torch
from torch import distributed

pytest.importorskip("vllm", reason="`make test-vllm` runs this in an environment of its own")

from mapo.functional.noise import stream_key
from mapo.functional.stages import watch_stages
from mapo.modules.self_check import check_first_rollouts
from mapo.policies.policy import Lora, Policy
from mapo.rollout.base import RolloutError
from mapo.rollout.transformers import TransformersEngine
from mapo.rollout.vllm import VLLMEngine
from mapo.rollout.vllm_local import LocalEngine
from mapo.types import Sampling

EAGER = {"enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}
WHOLE = Sampling(temperature=0.7, max_completion_tokens=24)
GREEDY = Sampling(temperature=0.0, max_completion_tokens=24)


@pytest.fixture(scope="module")
def engine():
    engine = VLLMEngine(**EAGER)
    yield engine
    engine.close()


@pytest.fixture
def alone(engine):
    """vLLM keeps one state per process, so that an engine that ends takes it from another."""
    engine.close()


@pytest.fixture(scope="module")
def loaded(language_path):
    return Policy(path=str(language_path), max_prompt_tokens=128).load_model(reference=False)


@pytest.fixture
def policy(loaded):
    """The policy with its first weights, whatever a test made of them."""
    before = {name: weight.clone() for name, weight in loaded.state_dict().items()}
    yield loaded
    loaded.load_state_dict(before)


def draw(engine, policy, prompts, sampling=WHOLE, group_size=4):
    return engine.generate(
        policy,
        [policy.renderer.encode(prompt) for prompt in prompts],
        group_size=group_size,
        sampling=sampling,
        streams=[stream_key(0, "train", 0, prompt.sample_id, 0) for prompt in prompts],
    )


def tokens(rollouts):
    return [completion.token_ids.tolist() for group in rollouts.completions for completion in group]


def largest_gap(policy, rollouts):
    """Of engine and policy, over all tokens, in nats."""
    gaps = []
    for prompt, group, sampled in zip(rollouts.prompts, rollouts.completions, rollouts.sampling_logprobs, strict=True):
        ids = [completion.token_ids for completion in group]
        with torch.no_grad():
            scores = policy.score([prompt] * len(ids), ids, temperature=rollouts.temperature).logprobs
        gaps += [float((row[: len(one)] - lp).abs().max()) for row, one, lp in zip(scores, ids, sampled, strict=True)]
    return max(gaps)


def disturb(policy, by=0.05):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.trainable_parameters():
            weight.add_(by * torch.randn(weight.shape, generator=generator))


def test_log_probs_are_the_policys_with_temperature_and_bans(engine, policy, questions):
    rollouts = draw(engine, policy, questions)
    assert [len(group) for group in rollouts.completions] == [4] * 4
    assert largest_gap(policy, rollouts) < 1e-4
    assert check_first_rollouts(policy, rollouts) < 1e-5
    assert not {token for ids in tokens(rollouts) for token in ids} & set(policy.renderer.banned_ids)
    assert len({tuple(ids) for ids in tokens(rollouts)}) > 4  # seeds differ within a group


def test_it_tells_how_far_it_is_and_draws_no_bar(engine, policy, questions, capfd):
    told = []
    watch_stages(lambda *stage: told.append(stage))
    try:
        draw(engine, policy, questions)
    finally:
        watch_stages(None)
    assert told[-1] == ("completions sampled", 16, 16)
    assert [done for _, done, _ in told] == [4, 8, 12, 16]  # a prompt at a time
    assert "Processed prompts" not in "".join(capfd.readouterr())


def test_banned_tokens_stay_away_where_the_policy_would_love_them(engine, policy, questions):
    renderer = policy.renderer
    favourite = draw(engine, policy, questions[:1], GREEDY, 1).completions[0][0].token_ids[0]
    banned, renderer.banned_ids = renderer.banned_ids, (*renderer.banned_ids, int(favourite))
    try:
        rollouts = draw(engine, policy, questions[:1])
        assert not any(int(favourite) in ids for ids in tokens(rollouts))
        assert largest_gap(policy, rollouts) < 1e-4
    finally:
        renderer.banned_ids = banned


def test_ends_and_truncation_are_the_policys(engine, policy, questions):
    short = draw(engine, policy, questions, replace(WHOLE, max_completion_tokens=3))
    assert all(completion.truncated and len(completion.token_ids) == 3 for g in short.completions for completion in g)
    long = draw(engine, policy, questions, GREEDY, 2)
    for group in long.completions:
        assert group[0].token_ids.equal(group[1].token_ids)  # greedy: one completion, counted twice
        for completion in group:
            assert completion.truncated == (int(completion.token_ids[-1]) not in policy.renderer.eos_ids)


def test_greedy_completions_are_those_of_the_other_engine(engine, policy, questions):
    assert tokens(draw(engine, policy, questions, GREEDY, 1)) == tokens(
        draw(TransformersEngine(), policy, questions, GREEDY, 1)
    )


def test_same_seeds_give_the_same_completions_in_any_company(engine, policy, questions):
    together = tokens(draw(engine, policy, questions))
    assert tokens(draw(engine, policy, questions[2:3])) == together[8:12]


@pytest.mark.parametrize("truncated", [{"top_p": 0.9}, {"top_k": 5}])
def test_log_probs_of_a_truncated_law_are_not_passed_off_as_others(engine, policy, questions, truncated):
    rollouts = draw(engine, policy, questions[:1], replace(WHOLE, **truncated))
    assert all(lp.isnan().all() for lp in rollouts.sampling_logprobs[0])
    assert not engine.reports_logprobs(replace(WHOLE, **truncated))


def test_new_weights_arrive_whenever_they_changed_and_only_then(engine, policy, questions, monkeypatch):
    pushed = []
    load = LocalEngine._load
    monkeypatch.setattr(LocalEngine, "_load", lambda self, weights: pushed.append(len(weights)) or load(self, weights))
    before = draw(engine, policy, questions, GREEDY, 1)
    pushed.clear()
    draw(engine, policy, questions, GREEDY, 1)
    assert pushed == []
    disturb(policy)
    after = draw(engine, policy, questions, GREEDY, 1)  # the same prompts, which the prefix cache had with old weights
    assert pushed == [len(list(policy.model.named_parameters()))]
    assert tokens(after) != tokens(before)
    assert tokens(after) == tokens(draw(TransformersEngine(), policy, questions, GREEDY, 1))
    assert largest_gap(policy, draw(engine, policy, questions)) < 1e-4
    assert largest_gap(policy, before) > 0.01


def test_adapters_are_merged_for_the_engine_and_stay_beside_the_weights_of_the_policy(language_path, questions, alone):
    policy = Policy(path=str(language_path), lora=Lora(rank=4), max_prompt_tokens=128).load_model(reference=False)
    disturb(policy, by=0.1)  # B is 0 at first, and the adapter without effect
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    engine = VLLMEngine(**EAGER)
    try:
        assert largest_gap(policy, draw(engine, policy, questions)) < 1e-4
    finally:
        engine.close()
    assert all(weight.equal(before[name]) for name, weight in policy.state_dict().items())


def test_weights_that_do_not_fit_are_refused_before_any_is_sent(engine, policy, questions, monkeypatch):
    whole = tokens(draw(engine, policy, questions, GREEDY, 1))
    local, named = engine._state.engine, policy.model.named_parameters
    for wrong, words in (
        (lambda: [*named(), ("model.norm.bias", torch.nn.Parameter(torch.zeros(1)))], "does not know 1 of .*norm.bias"),
        (lambda: list(named())[:-1], "would not be given 1 of .*norm.weight"),
    ):
        monkeypatch.setattr(policy.model, "named_parameters", wrong)
        monkeypatch.setattr(local, "_version", None)
        monkeypatch.setattr(local, "_checked", False)
        with pytest.raises(ValueError, match=words):
            draw(engine, policy, questions, GREEDY, 1)
    monkeypatch.undo()
    assert tokens(draw(engine, policy, questions, GREEDY, 1)) == whole


def test_engine_leaves_process_group_generators_threads_and_environment_alone(policy, questions, tmp_path, alone):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        torch.manual_seed(5), numpy.random.seed(5), random.seed(5)
        environment, set_num_threads = dict(os.environ), torch.set_num_threads
        expected = torch.rand(1), numpy.random.rand(), random.random()
        torch.manual_seed(5), numpy.random.seed(5), random.seed(5)
        engine = VLLMEngine(**EAGER)
        draw(engine, policy, questions)
        assert largest_gap(policy, draw(engine, policy, questions)) < 1e-4
        engine.close()
        assert (torch.rand(1), numpy.random.rand(), random.random()) == expected
        assert torch.set_num_threads is set_num_threads
        assert dict(os.environ) == environment
        assert distributed.is_initialized()
        total = torch.ones(1)
        distributed.all_reduce(total)
        assert total == 1
    finally:
        distributed.destroy_process_group()


def test_an_engine_that_breaks_down_says_so_in_one_line(language_path, questions, alone):
    policy = Policy(path=str(language_path), max_prompt_tokens=128).load_model(reference=False)
    engine = VLLMEngine(**EAGER)
    draw(engine, policy, questions)
    llm = engine._state.engine._llm
    unknown = iter([("model.unknown", torch.zeros(1))])
    with pytest.raises(ValueError, match="no module or parameter named"):  # vLLM is left without its weights
        llm.collective_rpc("reload_weights", kwargs={"weights_iterator": unknown})
    with pytest.raises(RolloutError, match=r"^vLLM failed to sample: \w+: [^\n]+$"):
        draw(engine, policy, questions)
    engine.close()
    assert largest_gap(policy, draw(engine, policy, questions)) < 1e-4  # a new one starts with the next rollout
    engine.close()
