from dataclasses import replace

import pytest
import torch

from mapo.functional.noise import stream_key
from mapo.modules.self_check import (
    _SHARING,
    _first_completions,
    _logprobs,
    check_first_rollouts,
    check_gradient,
    check_logits,
    check_shared_prefix,
)
from mapo.policies import packing
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
    with pytest.raises(ValueError, match="weights, precision, temperature and chat template"):
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


def test_a_shared_prompt_that_gives_other_log_probs_stops_the_run_and_names_the_way_out(policy, rollouts, monkeypatch):
    assert policy.shares_prefix
    check_first_rollouts(policy, rollouts)
    real = packing.next_position
    # Completions two positions off: neither in shape nor in kind would anything look wrong.
    monkeypatch.setattr(packing, "next_position", lambda positions: real(positions) + 2)
    group = _first_completions(rollouts, 1, 1000)
    with torch.no_grad():
        wrong = _logprobs(policy, group)
    with pytest.raises(ValueError, match=r"'picture' .* 3 completions .* by 0\.\d+ nats .*share_prefix=false"):
        check_shared_prefix(policy, group, wrong)
    assert policy.shares_prefix
    policy.shares_prefix = False
    try:
        check_first_rollouts(policy, rollouts)
    finally:
        policy.shares_prefix = True


def test_one_wrong_token_among_many_right_ones_is_found(policy, rollouts, monkeypatch):
    group = _first_completions(rollouts, 1, 1000)
    with torch.no_grad():
        logprobs = _logprobs(policy, group)
    logprobs[2][-1] += 0.011
    monkeypatch.setitem(_SHARING, torch.float32, _SHARING[torch.float32]._replace(mean=1.0))  # as if there were many
    with pytest.raises(ValueError, match=r"0\.011 at most \(allowed: 1 and 0\.01 in torch\.float32\)"):
        check_shared_prefix(policy, group, logprobs)


def test_sharing_a_prompt_is_right_in_mixed_precision(policy, rollouts):
    group = _first_completions(rollouts, 1, 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        check_shared_prefix(policy, group, _logprobs(policy, group))


def test_a_gradient_that_is_not_finite_is_found_and_none_is_left_behind(policy, rollouts, monkeypatch):
    group = _first_completions(rollouts, 1, 1000)
    check_gradient(policy, group)
    assert all(weight.grad is None for weight in policy.parameters())
    score = policy.score

    def infinite_slope(*args, **kwargs):  # sqrt at 0: the value is finite, its gradient is not
        scores = score(*args, **kwargs)
        return scores._replace(logprobs=scores.logprobs + (scores.logprobs * 0).sqrt())

    monkeypatch.setattr(policy, "score", infinite_slope)
    with pytest.raises(ValueError, match=r"of sample 'picture' is not finite in \d+ of \d+ weights, the first of them"):
        check_gradient(policy, group)


def test_only_as_many_completions_are_compared_as_fit(rollouts):
    longest = len(rollouts.prompts[1].input_ids) + max(len(c.token_ids) for c in rollouts.completions[1])
    sizes = [len(_first_completions(rollouts, 1, budget).prompts) for budget in (3 * longest, 3 * longest - 1, 1)]
    assert sizes == [3, 2, 2]
