"""Passes and groups that can teach nothing are left out, and nothing changes but the time it takes."""

import math
from dataclasses import replace

import pytest
import torch
from arithmetic import SHORT, EvenLength, EveryGroup, Sums, make_module

from mapo.functional.success_bins import BINS
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.losses.sampler_correction import SamplerCorrection
from mapo.modules.experience import Experience
from mapo.modules.means import Means
from mapo.modules.statistics import add_pass_statistics
from mapo.rewards.scoring import score_completions


def phase(path, silent, **settings):
    """A loaded module and a phase of five groups, some without any advantage; one completion is not valid."""
    module = make_module(path, **settings)
    module.configure_model()
    data = Sums()
    data.setup("fit")
    rollouts = module.generate(data.train_set[:5], 4, SHORT, split="train", epoch=0)
    scores = score_completions([EvenLength()], rollouts.completions)
    scores.valid[0, 0] = False
    advantages = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).masked_fill(~scores.valid, 0.0)
    advantages[list(silent)] = 0.0
    return module, Experience.from_groups(rollouts, scores, advantages)


def run(module, rows, *, off_policy=False):
    """Return the gradient, the rows that were run, and the means."""
    module.zero_grad()
    means = Means()
    normaliser = float(module.objective.aggregation.normaliser(rows.completion_mask))
    needed = module.objective.needed(rows, means)
    if off_policy:  # ratios from 1/2 to 3, some beyond the clip
        with torch.no_grad():
            now = module.actor.score(needed.prompts, needed.token_ids, temperature=1.0).logprobs
        shifts = torch.tensor([int(ids.sum()) % 7 - 4 for ids in needed.token_ids]) / 4
        needed = needed.with_old_logprobs(now + shifts[:, None])
    (module.objective(module.actor, needed, temperature=1.0, means=means) / normaliser).backward()
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in module.actor.trainable_parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients]), needed, means.compute()


@pytest.mark.parametrize("off_policy", [False, True], ids=["on policy", "off policy"])
def test_skipped_groups_change_neither_gradient_nor_loss(tiny_lm_path, off_policy):
    skipping, whole = (
        run(*phase(tiny_lm_path, silent=(1, 3), loss=loss), off_policy=off_policy)
        for loss in (ClippedPolicyLoss(), EveryGroup())
    )
    assert (len(skipping[1]), len(whole[1])) == (12, 20)
    assert whole[0].norm() > 0
    assert (skipping[0] - whole[0]).norm() < 1e-6 * whole[0].norm()
    assert skipping[2]["policy_loss"] == pytest.approx(whole[2]["policy_loss"], rel=1e-5)
    assert (skipping[2]["skipped_group_share"], whole[2]["skipped_group_share"]) == (0.4, 0.0)
    if off_policy:
        assert 0 < whole[2]["clip_fraction_high"] < 1


def test_where_nothing_teaches_one_row_is_run_and_the_gradient_is_zero(tiny_lm_path):
    gradient, rows, means = run(*phase(tiny_lm_path, silent=range(5)))
    assert len(rows) == 1
    assert not gradient.any()
    assert (means["policy_loss"], means["skipped_group_share"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "settings",
    [{"kl_coef": 0.1}, {"log_entropy": True}, {"loss": EveryGroup()}],
    ids=["reference", "entropy", "a loss that may need them"],
)
def test_groups_that_something_else_needs_are_run(tiny_lm_path, settings):
    _, rows, means = run(*phase(tiny_lm_path, silent=(0, 2, 4), **settings))
    assert len(rows) == 20
    assert means["skipped_group_share"] == 0.0
    assert {"importance_ratio", "sampling_gap"} <= means.keys()


def test_what_is_not_known_of_skipped_groups_is_named_after_the_others(tiny_lm_path):
    _, _, means = run(*phase(tiny_lm_path, silent=(0,)))
    over_all = {"policy_loss", "skipped_group_share"}
    assert over_all < means.keys()
    assert {name.partition("/")[0] for name in means.keys() - over_all} == {"trained_groups"}
    assert means["trained_groups/importance_ratio"] == 1.0


def test_clip_fraction_and_divergence_are_also_told_by_success_bin(tiny_lm_path):
    module, rows = phase(tiny_lm_path, silent=(), kl_coef=0.1)
    _, _, means = run(module, rows, off_policy=True)
    cut = sum(means[f"clip_fraction_{bound}"] for bound in ("low", "high", "dual"))
    tokens = rows.completion_mask.sum(dim=1).double()
    shares = {BINS[i]: float(tokens[rows.success_bins == i].sum() / tokens.sum()) for i in rows.success_bins.unique()}
    assert len(shares) > 1
    assert cut > 0
    for name, whole in (("clip_fraction", cut), ("kl", means["kl"])):
        assert sum(share * means[f"{name}/{label}"] for label, share in shares.items()) == pytest.approx(whole)
        assert {label for label in BINS if not math.isnan(means[f"{name}/{label}"])} == shares.keys()


def passes(module, monkeypatch):
    """The passes over the network from now on: "policy" or "reference"."""
    found = []

    def spy(model, name):
        enter = model.enter

        def spied(compute):
            found.append(name)
            return enter(compute)

        monkeypatch.setattr(model, "enter", spied)

    spy(module.actor, "policy")
    if module.actor.reference is not None:
        spy(module.actor.reference, "reference")
    return found


def gradient_of(module, objective, rows):
    module.zero_grad()
    objective(module.actor, rows, temperature=1.0, means=Means()).backward()
    return torch.cat([weight.grad.flatten() for weight in module.actor.trainable_parameters()])


def test_first_step_of_a_phase_needs_no_pass_for_old_log_probs(tiny_lm_path, monkeypatch):
    module, rows = phase(tiny_lm_path, silent=())
    seen = passes(module, monkeypatch)
    own = gradient_of(module, module.objective, rows)
    assert seen == ["policy"]
    scored = module.objective.with_old_logprobs(module.actor, rows, 1.0)
    assert seen == ["policy"] * 2
    expected = gradient_of(module, module.objective, scored)
    assert expected.norm() > 0
    assert (own - expected).norm() < 1e-6 * expected.norm()


def test_without_a_weight_on_the_divergence_the_reference_is_not_run(tiny_lm_path, monkeypatch):
    module, rows = phase(tiny_lm_path, silent=(), kl_coef=0.1)
    with torch.no_grad():
        for weight in module.actor.trainable_parameters():
            weight.add_(0.01)  # or policy and reference would be equal, and so their divergence 0
    seen = passes(module, monkeypatch)
    without = gradient_of(module, replace(module.objective, kl_coef=0.0), rows)
    assert seen == ["policy"]
    weightless, weighted = (gradient_of(module, replace(module.objective, kl_coef=k), rows) for k in (1e-12, 0.1))
    assert seen == ["policy"] + ["reference", "policy"] * 2
    assert (without - weightless).norm() < 1e-6 * without.norm()
    assert (without - weighted).norm() > 1e-3 * without.norm()


def test_skipped_passes_are_counted(tiny_lm_path):
    module, rows = phase(tiny_lm_path, silent=())
    later = module.objective.with_old_logprobs(module.actor, rows, 1.0)
    for kl_coef, share in ((0.0, 1.0), (0.1, 0.0)):
        means = Means()
        add_pass_statistics(means, [[rows], [later], [later, later]], replace(module.objective, kl_coef=kl_coef))
        found = means.compute()
        assert found["skipped_old_pass_share"] == pytest.approx(1 / 3)
        assert found["skipped_reference_pass_share"] == share
        assert found["micro_batches"] == pytest.approx(4 / 3)


def sampled_elsewhere(rows, by: float = 0.5):
    """The rows as an engine reports them whose log-probs are off by a little, in a way that depends on the token."""
    off = tuple(
        lp + by * torch.sin(ids.float()) for lp, ids in zip(rows.sampling_logprobs, rows.token_ids, strict=True)
    )
    return replace(rows, sampling_logprobs=off)


@pytest.mark.parametrize("correction", [SamplerCorrection(), SamplerCorrection(level="sequence", mask_below=0.5)])
def test_sampler_correction_changes_the_gradient_alike_however_rows_are_cut(tiny_lm_path, correction):
    module, rows = phase(tiny_lm_path, silent=(1,), sampler_correction=correction)
    plain = phase(tiny_lm_path, silent=(1,))[0]
    off = sampled_elsewhere(rows)
    whole, _, means = run(module, off)
    assert (whole - run(plain, off)[0]).norm() > 0.05 * whole.norm()
    assert means["trained_groups/sampler_weight_max"] > 1
    normaliser = float(module.objective.aggregation.normaliser(off.completion_mask))
    module.zero_grad()
    parts = Means()
    for row in module.objective.needed(off, Means()).with_signal.nonzero()[:, 0].tolist():
        one = module.objective.needed(off, Means()).select([row])
        (module.objective(module.actor, one, temperature=1.0, means=parts) / normaliser).backward()
    cut = torch.cat([w.grad.flatten() for w in module.actor.trainable_parameters()])
    assert (cut - whole).norm() < 1e-5 * whole.norm()
    for name, value in parts.compute().items():
        if "sampler" in name:
            assert value == pytest.approx(means[name], rel=1e-4)


def test_sampler_correction_leaves_equal_log_probs_alone(tiny_lm_path):
    module, rows = phase(tiny_lm_path, silent=(1,), sampler_correction=SamplerCorrection())
    own = replace(rows, sampling_logprobs=tuple(score(module, rows)))
    corrected, _, means = run(module, own)
    assert (corrected - run(phase(tiny_lm_path, silent=(1,))[0], own)[0]).norm() < 1e-5 * corrected.norm()
    assert means["trained_groups/sampler_weight"] == pytest.approx(1.0, abs=1e-5)
    assert means["trained_groups/sampler_capped_share"] == 0


def score(module, rows):
    with torch.no_grad():
        padded = module.actor.score(rows.prompts, rows.token_ids, temperature=1.0).logprobs
    return [row[: len(ids)] for row, ids in zip(padded, rows.token_ids, strict=True)]
