from dataclasses import replace

import pytest
import torch

from mapo.functional.noise import stream_key
from mapo.modules.self_check import check_first_rollouts, check_logits
from mapo.policies.policy import Policy
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False)


@pytest.fixture
def rollouts(policy, make_prompt):
    """Two groups, the second with a picture, which is the one to be checked."""
    prompts = [make_prompt("text", sample_id="text"), make_prompt("picture", (84, 84), sample_id="picture")]
    return TransformersEngine().generate(
        policy,
        [policy.renderer.encode(prompt) for prompt in prompts],
        group_size=3,
        sampling=Sampling(temperature=0.7, max_completion_tokens=6),
        streams=[stream_key(0, "train", 0, prompt.sample_id, 0) for prompt in prompts],
    )


def shifted(rollouts, row: int, by: float):
    """The rollouts with the engine's log-probs of one group off by so many nats."""
    groups = list(rollouts.sampling_logprobs)
    groups[row] = tuple(logprobs + by for logprobs in groups[row])
    return replace(rollouts, sampling_logprobs=tuple(groups))


def test_own_rollouts_agree_with_the_policy(policy, rollouts):
    assert check_first_rollouts(policy, rollouts) < 1e-4
    assert (
        check_first_rollouts(policy, shifted(rollouts, 0, 1.0)) < 1e-4
    )  # a text group says less than one with pictures


def test_gap_is_the_mean_per_token(policy, rollouts):
    assert check_first_rollouts(policy, shifted(rollouts, 1, 5e-4)) == pytest.approx(5e-4, rel=0.1)


@pytest.mark.parametrize("by", [0.01, -0.01, float("nan")])
def test_disagreement_stops_the_run_and_names_the_sample(policy, rollouts, by):
    with pytest.raises(ValueError, match=r"sample 'picture': .* nats per token .*allowed: 0\.001 in torch\.float32"):
        check_first_rollouts(policy, shifted(rollouts, 1, by))


def test_another_temperature_is_a_disagreement(policy, rollouts):
    with pytest.raises(ValueError, match="weights, temperature and chat template"):
        check_first_rollouts(policy, replace(rollouts, temperature=1.0))


def test_rounding_of_bfloat16_is_no_disagreement(policy, rollouts):
    off = shifted(rollouts, 1, 0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert 0 < check_first_rollouts(policy, off) < 0.1


def test_completions_without_tokens_have_no_gap(policy, rollouts):
    empty = torch.zeros(0, dtype=torch.int64)
    groups = tuple(tuple(replace(c, token_ids=empty) for c in group) for group in rollouts.completions)
    nothing = tuple(tuple(torch.zeros(0) for _ in group) for group in groups)
    assert check_first_rollouts(policy, replace(rollouts, completions=groups, sampling_logprobs=nothing)) == 0


def test_logits_that_the_model_itself_would_scale_are_refused(policy, rollouts, monkeypatch):
    check_logits(policy, rollouts.prompts[1])
    head = policy._head()
    monkeypatch.setattr(policy, "_head", lambda: lambda hidden: 2 * head(hidden))
    with pytest.raises(ValueError, match="scales its logits in a way that is not supported"):
        check_logits(policy, rollouts.prompts[1])
