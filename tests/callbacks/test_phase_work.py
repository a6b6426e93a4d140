"""What a phase needs, counted by hand from its groups."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mapo.callbacks.phase_work import PhaseWork, WorkCounter
from mapo.losses.aggregation import TokenMean
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.objective import Objective
from mapo.modules.records import PhaseRecord
from mapo.policies.model_flops import ModelFlops
from mapo.policies.policy import Lora, Policy
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

RAW = Prompt("row", (), (), "", {})
PROMPTS = tuple(EncodedPrompt(RAW, torch.arange(size), {}, "") for size in (6, 9))
LENGTHS = [[3, 5], [4, 2]]


def make_record(advantages, valid=((True, True), (True, True))) -> PhaseRecord:
    completions = tuple(tuple(Completion(RAW, "", "", torch.arange(n), False) for n in group) for group in LENGTHS)
    logprobs = tuple(tuple(torch.zeros(n) for n in group) for group in LENGTHS)
    zeros = torch.zeros(2, 2)
    scores = Scores(zeros, zeros > 0, zeros, torch.tensor(valid), {})
    return PhaseRecord(0, Rollouts(PROMPTS, completions, logprobs, 1.0), scores, torch.tensor(advantages))


def make_module(actor=None, *, kl_coef=0.0, log_entropy=False, updates=1) -> SimpleNamespace:
    objective = Objective(
        loss=ClippedPolicyLoss(), aggregation=TokenMean(), kl_coef=kl_coef, kl_estimator="k3", log_entropy=log_entropy
    )
    return SimpleNamespace(actor=actor, objective=objective, updates_per_phase=updates)


BOTH = [[1.0, -1.0], [0.5, -0.5]]
SECOND_SILENT = [[1.0, -1.0], [0.0, 0.0]]


@pytest.fixture(scope="module", params=[None, Lora(rank=2)], ids=["full", "lora"])
def actor(request, tiny_lm_path):
    return Policy(path=str(tiny_lm_path), lora=request.param).load_model(reference=False)


def test_tokens_of_silent_groups_and_invalid_completions_are_not_trained():
    counter = WorkCounter()
    assert counter.count(make_module(), make_record(BOTH)) == PhaseWork(2, 14, 14)
    assert counter.count(make_module(), make_record(SECOND_SILENT)) == PhaseWork(2, 14, 8)
    assert counter.count(make_module(kl_coef=0.01), make_record(SECOND_SILENT)) == PhaseWork(2, 14, 14)
    assert counter.count(make_module(log_entropy=True), make_record(SECOND_SILENT)) == PhaseWork(2, 14, 14)
    half = make_record(BOTH, valid=((True, False), (True, True)))
    assert counter.count(make_module(), half) == PhaseWork(2, 14, 9)


def test_what_is_kept_out_of_the_loss_is_sampled_and_not_trained():
    truncated = replace(make_record(BOTH), trained=torch.tensor([[True, False], [True, True]]))
    assert WorkCounter().count(make_module(), truncated) == PhaseWork(2, 14, 9)
    left_out = replace(make_record(SECOND_SILENT), trained=torch.tensor([[True, True], [False, False]]))
    assert WorkCounter().count(make_module(kl_coef=0.01), left_out) == PhaseWork(2, 14, 8)


def test_groups_of_the_first_step_need_no_old_logprobs_wherever_they_stand(actor):
    policy, module = ModelFlops.of(actor), make_module(actor, updates=2)
    both = WorkCounter.of(module).count(module, replace(make_record(BOTH), steps=torch.tensor([0, 0]))).update_flops
    turned = WorkCounter.of(module).count(module, replace(make_record(BOTH), steps=torch.tensor([1, 0]))).update_flops
    assert turned - both == policy.forward(PROMPTS[0], LENGTHS[0])


def test_rollout_is_a_forward_pass_of_the_merged_model(actor):
    base = ModelFlops.of(actor, adapters=False)
    expected = base.forward(PROMPTS[0], [3, 5]) + base.forward(PROMPTS[1], [4, 2])
    for advantages in (BOTH, SECOND_SILENT):
        module = make_module(actor)
        assert WorkCounter.of(module).count(module, make_record(advantages)).rollout_flops == expected


def test_update_has_the_passes_that_the_phase_needs(actor):
    policy, base = ModelFlops.of(actor), ModelFlops.of(actor, adapters=False)
    first, second = zip(PROMPTS, LENGTHS, strict=True)
    both = sum(policy.forward(*group) + policy.backward(*group) for group in (first, second))

    def update(record, **settings):
        module = make_module(actor, **settings)
        return WorkCounter.of(module).count(module, record).update_flops

    assert update(make_record(BOTH)) == both
    assert update(make_record(BOTH), kl_coef=0.1) == both + base.forward(*first) + base.forward(*second)
    assert update(make_record(BOTH), updates=2) == both + policy.forward(*second)  # its old log-probs
    assert update(make_record(SECOND_SILENT), updates=2) == policy.forward(*first) + policy.backward(*first)
    only_one = make_record(SECOND_SILENT, valid=((True, False), (True, True)))
    assert update(only_one) == policy.forward(PROMPTS[0], [3]) + policy.backward(PROMPTS[0], [3])


def test_a_model_that_is_not_counted_is_named(actor, monkeypatch, caplog):
    def refuse(*_, **__):
        raise ValueError("the FLOPs of Mixture are not counted: it has num_experts")

    monkeypatch.setattr(ModelFlops, "of", refuse)
    with caplog.at_level("INFO"):
        counter = WorkCounter.of(make_module(actor))
    assert "no utilisation, since the FLOPs of Mixture are not counted" in caplog.text
    assert counter.count(make_module(actor), make_record(BOTH)) == PhaseWork(2, 14, 14)
