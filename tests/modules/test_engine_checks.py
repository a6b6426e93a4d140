"""Engines of other makes: asked before anything is loaded, checked on what they can tell and after an update."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from arithmetic import SHORT, Sums, make_module
from lightning.pytorch import Trainer
from typing_extensions import override

from mapo.losses.sampler_correction import SamplerCorrection
from mapo.policies.policy import Policy
from mapo.rollout.base import RolloutEngine
from mapo.rollout.transformers import TransformersEngine

TRUNCATED = replace(SHORT, top_p=0.9)


@dataclass(frozen=True)
class Silent(RolloutEngine):
    """Knows no log-probs of a truncated law, as vLLM."""

    copies_weights: ClassVar[bool] = True
    asked: ClassVar[list] = []

    @override
    def check(self, renderer, samplings):
        self.asked.append(sorted({sampling.max_completion_tokens for sampling in samplings}))

    @override
    def reports_logprobs(self, sampling):
        return sampling.top_p == 1

    @override
    def generate(self, policy, prompts, **how):
        self.asked.append((how["sampling"].top_p, len(prompts)))
        rollouts = TransformersEngine().generate(policy, prompts, **how)
        known = self.reports_logprobs(how["sampling"])
        logprobs = tuple(tuple(lp if known else lp * torch.nan for lp in group) for group in rollouts.sampling_logprobs)
        return replace(rollouts, sampling_logprobs=logprobs)


@dataclass(frozen=True)
class Stale(RolloutEngine):
    """Samples with the weights at the policy's path, whatever has become of the policy."""

    path: str
    copies_weights: ClassVar[bool] = True

    @override
    def generate(self, policy, prompts, **how):
        return TransformersEngine().generate(Policy(path=self.path).load_model(reference=False), prompts, **how)


def fit(tmp_path, module):
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=Sums())
    return trainer


def test_where_log_probs_are_not_known_one_more_group_is_checked_in_the_first_two_phases(tmp_path, tiny_lm_path):
    Silent.asked.clear()
    trainer = fit(tmp_path, make_module(tiny_lm_path, rollout=Silent(), sampling=TRUNCATED))
    assert Silent.asked == [[4], (0.9, 4), (1.0, 1), (0.9, 4), (1.0, 1), (0.9, 4)]
    assert "train/reward" in trainer.callback_metrics
    assert not [name for name in trainer.callback_metrics if "sampling_gap" in name]  # it is not known


def test_a_correction_by_log_probs_that_are_not_known_is_refused_before_anything_is_loaded(tmp_path, tiny_lm_path):
    module = make_module(tiny_lm_path, rollout=Silent(), sampling=TRUNCATED, sampler_correction=SamplerCorrection())
    with pytest.raises(ValueError, match=r"sampler_correction needs log-probs that Silent cannot .*top_p=0\.9"):
        fit(tmp_path, module)
    assert not hasattr(module, "actor")


def test_weights_that_went_stale_are_found_after_the_first_update(tmp_path, tiny_lm_path):
    module = make_module(tiny_lm_path, rollout=Stale(str(tiny_lm_path)))
    with pytest.raises(ValueError, match=r"the rollout engine and the policy disagree .* Check that both use the same"):
        fit(tmp_path, module)
    assert module.phase_index == 1
