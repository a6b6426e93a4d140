"""The module under other precisions, with adapters, recomputation and frozen parts, and after inference mode."""

import functools

import pytest
import torch
from arithmetic import SHORT, EvenLength, make_module
from lightning.pytorch import Trainer

from mapo.data.base import PromptDataModule
from mapo.modules.evaluation import Evaluation
from mapo.policies.policy import Lora, Policy
from mapo.rollout.scripted import ScriptedEngine
from mapo.types import Prompt

SCRIPT = ["yes", "no!", "hm?", "no"]  # the tokens that bfloat16 samples are others
ADAPTED = r".*language_model.*\.(q_proj|v_proj)"


class Pictures(PromptDataModule):
    """Noise to look at, in two sizes."""

    def __init__(self, make_prompt) -> None:
        super().__init__(batch_size=4, instruction="")
        self.make_prompt = make_prompt

    def train_prompts(self) -> list[Prompt]:
        sizes = [(56, 28), (28, 28), (56, 56), (28, 28)]
        return [self.make_prompt(f"{i}?", sizes[i % 4], sample_id=f"row-{i}", answer="yes") for i in range(8)]

    def eval_prompts(self) -> dict[str, list[Prompt]]:
        return {"seen": self.train_prompts()[:3]}


@pytest.fixture
def fit(tmp_path, tiny_vl_path, make_prompt):
    """Train on pictures and return the module; ``policy`` and ``trainer`` hold settings of theirs."""

    def run(*, policy=None, trainer=None, validate=False, spy=None, **settings):
        module = make_module(
            tiny_vl_path,
            policy=Policy(path=str(tiny_vl_path), **policy or {}),
            evaluation=Evaluation(sampling=SHORT),
            **{"max_tokens_per_micro_batch": 60, "optimizer": functools.partial(torch.optim.SGD, lr=0.1)} | settings,
        )
        if spy is not None:
            spy(module)
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        settings = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "num_sanity_val_steps": 0}
        loop = Trainer(**settings | quiet | {"default_root_dir": tmp_path} | (trainer or {}))
        data = Pictures(make_prompt)
        if validate:
            loop.validate(module, datamodule=data, verbose=False)
        loop.fit(module, datamodule=data)
        return module

    return run


def parameters(module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.actor.model.named_parameters()}


def test_mixed_precision_leaves_rewards_log_probs_loss_and_weights_in_float32(fit):
    seen = {}

    def spy(module):
        loss_of, clip_gradient = module.loss_of, module.clip_gradient

        def look(rows, *args):
            seen["advantages"] = rows.advantages.dtype
            with torch.no_grad():
                seen["autocast"] = torch.is_autocast_enabled("cpu")
                seen["logprobs"] = module.actor.score(rows.prompts, rows.token_ids, temperature=1.0).logprobs.dtype
            torch.clear_autocast_cache()
            return loss_of(rows, *args)

        def clip():
            seen["gradients"] = {p.grad.dtype for p in module.actor.trainable_parameters()}
            return clip_gradient()

        def backward(loss, *args, **kwargs):
            seen["loss"] = loss.dtype
            return type(module).manual_backward(module, loss, *args, **kwargs)

        module.loss_of, module.clip_gradient, module.manual_backward = look, clip, backward

    module = fit(trainer={"precision": "bf16-mixed"}, spy=spy, kl_coef=0.1)
    assert seen.pop("autocast")
    assert seen.pop("gradients") == {torch.float32}
    assert seen.pop("loss") in (torch.float32, torch.float64)
    assert set(seen.values()) == {torch.float32}
    assert module.last_phase.scores.rewards.dtype == torch.float32
    assert {p.dtype for p in module.actor.trainable_parameters()} == {torch.float32}
    # Rounded to bfloat16, engine and policy differ visibly, but far less than with other weights.
    assert 0 < module.trainer.callback_metrics["train/sampling_gap"] < 0.1


def test_mixed_precision_moves_the_weights_as_full_precision_does(fit):
    settings = {"rewards": [First()], "rollout": ScriptedEngine({f"row-{i}": SCRIPT for i in range(8)})}
    start = parameters(fit(optimizer=functools.partial(torch.optim.SGD, lr=0.0), **settings))
    steps = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = {"precision": precision, "limit_train_batches": 1, "limit_val_batches": 0}
        moved = parameters(fit(trainer=trainer, **settings))
        steps.append(torch.cat([(moved[name] - start[name]).flatten() for name in start]))
    cosine = torch.nn.functional.cosine_similarity(*steps, dim=0)
    assert cosine > 0.95


class First(EvenLength):
    """Earned by the first half of every group."""

    def __call__(self, completions):
        return [float(index % 4 < 2) for index in range(len(completions))]


def test_only_adapters_are_trained_and_recomputation_changes_nothing(fit):
    recipe = {"lora": Lora(rank=2, target_modules=ADAPTED), "freeze_vision": True}
    settings = {"kl_coef": 0.1, "validate": True, "trainer": {"max_epochs": 2}}
    start = parameters(fit(policy=recipe, optimizer=functools.partial(torch.optim.SGD, lr=0.0)))
    kept, recomputed = (
        fit(policy=recipe | {"gradient_checkpointing": recompute}, **settings) for recompute in (False, True)
    )
    after, again = parameters(kept), parameters(recomputed)
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    for name, value in after.items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=1e-6)
    assert {module.training for module in recomputed.actor.modules()} == {True}


@pytest.mark.parametrize(
    "policy",
    [{}, {"gradient_checkpointing": True}, {"lora": Lora(rank=2, target_modules=ADAPTED), "freeze_vision": True}],
    ids=["all weights", "recomputed", "adapters"],
)
def test_a_shared_prompt_trains_as_a_copy_in_every_row_does(fit, policy):
    settings = {"kl_coef": 0.1, "log_entropy": True, "updates_per_phase": 2, "max_tokens_per_micro_batch": 90}
    start = parameters(fit(policy=policy, optimizer=functools.partial(torch.optim.SGD, lr=0.0)))
    shared, copied = (fit(policy=policy | {"share_prefix": shares}, **settings) for shares in (True, False))
    assert (shared.actor.shares_prefix, copied.actor.shares_prefix) == (True, False)
    after, expected = parameters(shared), parameters(copied)
    assert max(float((after[name] - start[name]).abs().max()) for name in start) > 1e-3
    for name, value in after.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
    counts = [module.trainer.callback_metrics["train/micro_batches"] for module in (shared, copied)]
    assert counts[0] < counts[1]


def test_adapters_start_from_the_seed_of_the_module(fit):
    recipe = {"lora": Lora(rank=2, target_modules=ADAPTED)}
    frozen = {"policy": recipe, "optimizer": functools.partial(torch.optim.SGD, lr=0.0)}
    torch.manual_seed(1)
    first = parameters(fit(**frozen))
    torch.manual_seed(2)
    again, other = parameters(fit(**frozen)), parameters(fit(**frozen, seed=3))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize("policy", [{}, {"gradient_checkpointing": True}], ids=["plain", "recomputed"])
def test_a_validation_in_inference_mode_does_not_touch_what_follows(fit, policy):
    once, fresh = fit(policy=policy, validate=True), fit(policy=policy)
    for name, value in parameters(fresh).items():
        assert torch.equal(value, parameters(once)[name]), name
    assert not any(tensor.is_inference() for tensor in (*once.actor.parameters(), *once.actor.buffers()))
