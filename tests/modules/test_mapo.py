import copy
import functools
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from arithmetic import SHORT, EvenLength, Sums, make_module, norms_in_double_precision
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mapo.losses.aggregation import ConstantLength, SequenceMean, TokenMean
from mapo.modules.dynamic_sampling import DynamicSampling
from mapo.modules.experience import Experience
from mapo.modules.mapo import MAPOModule
from mapo.modules.means import Means
from mapo.modules.micro_batches import micro_batches
from mapo.policies.policy import Lora, Policy
from mapo.rewards.scoring import score_completions
from mapo.rollout.transformers import TransformersEngine


class Trace(Callback):
    """Keeps what each phase said and did."""

    def __init__(self) -> None:
        self.losses, self.texts, self.ids = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(trainer.callback_metrics["train/policy_loss"]))
        record = module.last_phase
        self.texts.append([c.text for group in record.rollouts.completions for c in group])
        self.ids.append([prompt.sample_id for prompt in batch])


def make_trainer(tmp_path, *callbacks, **kwargs) -> Trainer:
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": tmp_path,
    }
    return Trainer(callbacks=list(callbacks), **settings | kwargs)


def fit(tmp_path, path, *, data=None, trainer=None, ckpt_path=None, callbacks=(), **kwargs):
    trace = Trace()
    trainer = make_trainer(tmp_path, trace, *callbacks, **(trainer or {}))
    module = make_module(path, **kwargs)
    trainer.fit(module, datamodule=data or Sums(), ckpt_path=ckpt_path)
    return module, trace


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in module.actor.trainable_parameters()])


def test_the_same_seed_repeats_a_run_and_another_does_not(tmp_path, tiny_lm_path):
    first, again = (fit(tmp_path, tiny_lm_path)[1] for _ in range(2))
    other = fit(tmp_path, tiny_lm_path, seed=1)[1]
    assert first.losses == again.losses
    assert first.texts == again.texts
    assert first.texts != other.texts


def test_completions_do_not_depend_on_how_they_are_batched(tmp_path, tiny_lm_path):
    wide = fit(tmp_path, tiny_lm_path)[1]
    narrow = fit(tmp_path, tiny_lm_path, rollout=TransformersEngine(max_batch_rows=3), max_tokens_per_micro_batch=40)[1]
    assert wide.texts == narrow.texts
    assert wide.losses == pytest.approx(narrow.losses, rel=1e-4, abs=1e-6)


class Rested(TransformersEngine):
    """Keeps when it is asked, and when it is told to rest."""

    told: ClassVar[list[str]] = []

    def generate(self, policy, prompts, **how):
        self.told.append("generate")
        return super().generate(policy, prompts, **how)

    def rest(self):
        self.told.append("rest")


def test_the_engine_rests_after_all_waves_of_a_phase_and_after_a_whole_validation(tmp_path, tiny_lm_path):
    Rested.told.clear()
    settings = {"rewards": [EvenLength()], "dynamic_sampling": DynamicSampling(max_refills=2)}
    module, _ = fit(tmp_path, tiny_lm_path, trainer={"max_epochs": 1, "max_steps": 1}, rollout=Rested(), **settings)
    waves = Rested.told.index("rest")
    assert Rested.told[:waves] == ["generate"] * int(module.last_means["train/sampled_waves"])
    assert Rested.told[waves:].count("rest") == 1 + 1
    assert Rested.told[waves + 1 :] == ["generate"] * (len(Rested.told) - waves - 2) + ["rest"]
    assert len(Rested.told) - waves - 2 > 2  # batches of the validation


def test_reward_rises(tmp_path, tiny_lm_path):
    settings = {"optimizer": functools.partial(torch.optim.AdamW, lr=3e-3), "group_size": 8}
    module, _ = fit(tmp_path, tiny_lm_path, trainer={"max_epochs": 8}, **settings)
    scores = module.last_phase.scores
    assert scores.success.float().mean() > 0.9  # a random policy earns about half


def phase_rows(module, dtype) -> tuple[Experience, float]:
    """One phase of a loaded module with ragged completions, and advantages of mixed sign."""
    module.configure_model()
    module.actor.to(dtype)
    data = Sums()
    data.setup("fit")
    rollouts = module.generate(data.train_set[:6], 4, SHORT, split="train", epoch=0)
    # Ragged, down to one token; the tiny model hardly ever ends by itself.
    groups = tuple(
        tuple(replace(c, token_ids=c.token_ids[: 1 + (b + g) % 4]) for g, c in enumerate(group))
        for b, group in enumerate(rollouts.completions)
    )
    sampled = tuple(
        tuple(logprobs[: len(c.token_ids)] for logprobs, c in zip(values, group, strict=True))
        for values, group in zip(rollouts.sampling_logprobs, groups, strict=True)
    )
    rollouts = replace(rollouts, completions=groups, sampling_logprobs=sampled)
    scores = score_completions([EvenLength()], rollouts.completions)
    advantages = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Experience.from_groups(rollouts, scores, advantages), rollouts.temperature


def gradient(module, parts: list[Experience], temperature: float) -> torch.Tensor:
    module.zero_grad()
    normaliser = sum(float(module.objective.aggregation.normaliser(part.completion_mask)) for part in parts)
    for part in parts:
        (module.objective(module.actor, part, temperature=temperature, means=Means()) / normaliser).backward()
    return torch.cat([p.grad.flatten() for p in module.actor.trainable_parameters() if p.grad is not None])


@pytest.mark.parametrize("aggregation", [TokenMean(), SequenceMean(), ConstantLength()])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shares", [True, False], ids=["shared", "plain"])
def test_gradient_does_not_depend_on_micro_batches_or_their_order(tiny_lm_path, aggregation, dtype, tolerance, shares):
    policy = Policy(path=str(tiny_lm_path), share_prefix=shares)
    module = make_module(tiny_lm_path, aggregation=aggregation, kl_coef=0.1, policy=policy)
    experience, temperature = phase_rows(module, dtype)
    module.actor.reference.to(dtype)
    if dtype == torch.float64:
        for network in (module.actor.model, module.actor.reference):
            norms_in_double_precision(network)
    whole = gradient(module, [experience], temperature)
    counts = set()
    for budget in (32, 45, 90, 1000):
        parts = micro_batches(experience.lengths, max_tokens=budget, shares_prefix=shares)
        counts.add(len(parts))
        for order in (parts, parts[::-1]):
            rows = [experience.select(part) for part in order]
            difference = gradient(module, [*rows, experience.select([])], temperature) - whole
            assert difference.norm() / whole.norm() < tolerance
    assert len(counts) >= 3


def test_later_mini_batches_are_compared_with_the_policy_that_opened_the_phase(tmp_path, tiny_lm_path):
    seen = []

    class Spy(MAPOModule):
        def optimize(self, step, normaliser, temperature, means):
            if step[0].old_logprobs is not None:
                seen.extend((rows, self.opening) for rows in step)
            super().optimize(step, normaliser, temperature, means)

        def update(self, experience, temperature, means):
            self.opening = copy.deepcopy(self.actor)
            super().update(experience, temperature, means)

    base = make_module(tiny_lm_path)
    arguments = {"policy": base.policy, "rewards": [EvenLength()], "group_size": 4, "sampling": SHORT, "kl_coef": 0.0}
    optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    module = Spy(**arguments, updates_per_phase=2, max_tokens_per_micro_batch=40, optimizer=optimizer)
    make_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(module, datamodule=Sums())
    assert len(seen) > 3  # three phases, a mini-batch of which is one group or two
    for rows, opening in seen:
        with torch.no_grad():
            expected = opening.score(rows.prompts, rows.token_ids, temperature=1.0).logprobs
        assert torch.equal(rows.old_logprobs, expected)


def test_kl_holds_the_policy_near_its_reference(tmp_path, tiny_lm_path):
    sgd = functools.partial(torch.optim.SGD, lr=0.05)
    start = make_module(tiny_lm_path)
    start.configure_model()
    free, _ = fit(tmp_path, tiny_lm_path, optimizer=sgd, kl_coef=0.0)
    held, _ = fit(tmp_path, tiny_lm_path, optimizer=sgd, kl_coef=5.0)
    distance_free, distance_held = ((weights(m) - weights(start)).norm() for m in (free, held))
    assert 0 < distance_held < distance_free


@pytest.mark.parametrize("stop", [2, 3])  # inside the first epoch of three phases, and at its end
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, tiny_lm_path, stop):
    whole, trace = fit(tmp_path, tiny_lm_path)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=stop, save_top_k=-1)
    fit(tmp_path, tiny_lm_path, callbacks=[saver], trainer={"limit_train_batches": 1.0, "max_steps": stop})
    resumed, rest = fit(tmp_path, tiny_lm_path, ckpt_path=tmp_path / f"step={stop}.ckpt")
    assert trace.ids[stop:] == rest.ids
    assert trace.texts[stop:] == rest.texts
    assert torch.equal(weights(whole), weights(resumed))


def test_checkpoint_rebuilds_the_module_from_plain_values(tmp_path, tiny_lm_path):
    saver = ModelCheckpoint(tmp_path, save_last=True)
    policy = Policy(path=str(tiny_lm_path), lora=Lora(rank=2, target_modules=r".*q_proj"))
    module, _ = fit(tmp_path, tiny_lm_path, callbacks=[saver], policy=policy, trainer={"max_epochs": 1}, kl_coef=0.1)
    loaded = MAPOModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert (loaded.policy, loaded.rewards, loaded.group_size) == (policy, (EvenLength(),), 4)
    assert torch.equal(weights(loaded), weights(module))
    assert loaded.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 1e-3


def test_what_a_checkpoint_cannot_hold_is_asked_for_by_name(tmp_path, tiny_lm_path):
    saver = ModelCheckpoint(tmp_path, save_last=True)
    with pytest.warns(UserWarning, match="optimizer is not stored"):
        fit(tmp_path, tiny_lm_path, callbacks=[saver], optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    with pytest.raises(ValueError, match=r"optimizer=\.\.\."):
        MAPOModule.load_from_checkpoint(tmp_path / "last.ckpt")
    loaded = MAPOModule.load_from_checkpoint(tmp_path / "last.ckpt", optimizer=torch.optim.SGD)
    assert loaded.group_size == 4


def test_validation_counts_every_row_of_every_set(tmp_path, tiny_lm_path):
    module, data = make_module(tiny_lm_path), Sums(eval_batch_size=2)
    records = []

    class Keep(Callback):
        def on_validation_batch_end(self, trainer, module, *_):
            records.extend(module.last_evaluation)

    trainer = make_trainer(tmp_path, Keep())
    (figures, *_) = trainer.validate(module, datamodule=data, verbose=False)
    for name, rows in (("near", 5), ("far", 3)):
        for mode, suffix, samples in (("sampled", "", 2), ("greedy", "_greedy", 1)):
            mine = [r for r in records if (r.set_name, r.mode) == (name, mode)]
            right = torch.cat([r.scores.accuracy for r in mine])
            assert right.shape == (rows, samples)
            assert trainer.callback_metrics[f"val/{name}/accuracy{suffix}"] == pytest.approx(float(right.mean()))
    assert figures


def test_rows_that_cannot_be_read_count_as_wrong(tmp_path, tiny_lm_path):
    class AlwaysRight(EvenLength):
        def __call__(self, completions):
            return [1.0] * len(completions)

    class OneShort(Sums):
        def eval_prompts(self):
            return {"near": self._rows(100, 5), "far": [*self._rows(1000, 2), *self._rows(5, 1)]}

    data = OneShort(on_bad_row="skip")
    data.setup("validate")
    length = Policy(path=str(tiny_lm_path)).load_renderer().prompt_length
    policy = Policy(path=str(tiny_lm_path), max_prompt_tokens=length(data.eval_sets["near"][0]))
    module = make_module(tiny_lm_path, rewards=[AlwaysRight()], policy=policy)
    trainer = make_trainer(tmp_path)
    with pytest.warns(UserWarning, match="counted as wrong"):
        trainer.validate(module, datamodule=data, verbose=False)
    assert set(data.bad_rows["far"]) == {"sum-1000", "sum-1001"}
    assert trainer.callback_metrics["val/near/accuracy"] == 1.0
    assert trainer.callback_metrics["val/far/accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_size": 1}, "group_size must be >= 2, got 1"),
        ({"kl_coef": -0.1}, "kl_coef must be >= 0 .* got -0.1"),
        ({"updates_per_phase": 0}, "updates_per_phase must be >= 1, got 0"),
        ({"max_tokens_per_micro_batch": 0}, "max_tokens_per_micro_batch must be >= 1"),
        ({"gradient_clip_norm": 0.0}, "gradient_clip_norm must be > 0"),
        ({"rewards": [EvenLength(weight=0.0)]}, "reward weights sum to 0"),
        ({"rewards": []}, "rewards is empty"),
    ],
)
def test_arguments_that_cannot_train_are_refused_before_anything_is_loaded(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_module("nowhere", **arguments)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"gradient_clip_val": 1.0}, "model.gradient_clip_norm"),
        ({"accumulate_grad_batches": 2}, "model.max_tokens_per_micro_batch"),
        ({"precision": "bf16-true"}, "bf16-mixed"),
    ],
)
def test_trainer_arguments_with_another_name_here_are_refused(tmp_path, tiny_lm_path, trainer, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, tiny_lm_path, trainer=trainer)


def test_a_phase_that_does_not_divide_is_refused(tmp_path, tiny_lm_path):
    with pytest.raises(ValueError, match="batch_size=4 prompts per phase do not divide by 1 ranks x 3"):
        fit(tmp_path, tiny_lm_path, updates_per_phase=3)


def test_long_prompts_are_dropped_from_training_by_name(tmp_path, tiny_lm_path):
    length = Policy(path=str(tiny_lm_path)).load_renderer().prompt_length
    policy = Policy(path=str(tiny_lm_path), max_prompt_tokens=length(Sums().train_prompts()[8]))
    with pytest.warns(UserWarning, match="left out of training.*sum-10"):
        _, trace = fit(tmp_path, tiny_lm_path, policy=policy, trainer={"limit_val_batches": 0}, data=Easy())
    assert not {"sum-9", "sum-10", "sum-11"} & {name for ids in trace.ids for name in ids}


class Easy(Sums):
    def eval_prompts(self):
        return {"near": self._rows(0, 3)}


def test_all_completions_invalid_trains_nothing(tmp_path, tiny_lm_path):
    class Broken(EvenLength):
        def __call__(self, completions):
            return [None] * len(completions)

    before = make_module(tiny_lm_path)
    before.configure_model()
    trainer = make_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    module = make_module(tiny_lm_path, rewards=[Broken()])
    with pytest.warns(UserWarning, match="no completion could be scored"):
        trainer.fit(module, datamodule=Sums())
    assert torch.equal(weights(module), weights(before))


def test_a_callback_that_waits_for_another_set_is_refused_at_the_start(tmp_path, tiny_lm_path):
    saver = ModelCheckpoint(tmp_path, monitor="val/nowhere/accuracy")
    with pytest.raises(ValueError, match=r"monitors 'val/nowhere/accuracy', but the evaluation sets are near, far"):
        fit(tmp_path, tiny_lm_path, callbacks=[saver])
