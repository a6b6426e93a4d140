import functools
import math

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from mapo.data import demonstrations
from mapo.data.base import PromptDataModule
from mapo.modules.means import Means
from mapo.modules.supervised import SupervisedModule
from mapo.policies.policy import Lora, Policy
from mapo.types import Prompt


class Echoes(PromptDataModule):
    """Say a letter, and it is said again, more or less often."""

    def __init__(self, completion: bool = True, ending: str = "", **kwargs) -> None:
        super().__init__(instruction="", **kwargs)
        self.completion, self.ending = completion, ending

    def row(self, index: int) -> Prompt:
        letter = "abcdefgh"[index % 8]
        texts = {"completion": letter * (1 + index % 3) + self.ending} if self.completion else {}
        return self.prompt(f"row {index}", f"say {letter}", letter, **texts)

    def train_prompts(self):
        return [self.row(index) for index in range(16)]

    def eval_prompts(self):
        return {"echoes": [self.row(index) for index in range(5)]}


class Losses(Callback):
    def __init__(self) -> None:
        self.values = []

    def on_train_batch_end(self, trainer, *_) -> None:
        self.values.append(float(trainer.callback_metrics["train/loss"]))


def fit(tmp_path, path, *, max_epochs=1, data=None, share_prefix=True, **kwargs):
    losses = Losses()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[losses],
        default_root_dir=tmp_path,
    )
    module = SupervisedModule(Policy(path=str(path), share_prefix=share_prefix), **kwargs)
    trainer.fit(module, datamodule=data or Echoes(batch_size=8, seed=0))
    return module, trainer, losses.values


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1.0)


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in module.actor.trainable_parameters()])


def test_the_loss_falls_in_training_and_validation(tmp_path, tiny_lm_path) -> None:
    _, trainer, losses = fit(tmp_path, tiny_lm_path, max_epochs=15, optimizer=adam)
    assert losses[-1] < 0.3 * losses[0]
    assert float(trainer.callback_metrics["val/echoes/loss"]) < 0.3 * losses[0]


def test_the_first_loss_is_the_token_mean_over_the_completions(tmp_path, tiny_lm_path) -> None:
    model = Policy(path=str(tiny_lm_path)).load_model(reference=False)
    data = Echoes(batch_size=16, seed=0)
    data.setup("fit")
    rows = list(data.train_set)
    ids = [model.renderer.encode_completion(row.metadata["completion"]) for row in rows]
    assert all(int(i[-1]) in model.renderer.eos_ids for i in ids)
    encoded = [model.renderer.encode(row) for row in rows]
    with torch.no_grad():  # one by one
        by_row = [model.score([e], [i], temperature=1.0).logprobs.sum() for e, i in zip(encoded, ids, strict=True)]
    expected = -sum(by_row) / sum(map(len, ids))
    _, _, losses = fit(tmp_path, tiny_lm_path, data=Echoes(batch_size=16, seed=0), optimizer=adam)
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("budget", [40, 100, 300])
def test_micro_batches_and_packing_change_nothing(tmp_path, tiny_lm_path, budget: int, share_prefix: bool) -> None:
    whole = weights(fit(tmp_path, tiny_lm_path, optimizer=sgd)[0])
    start = weights(fit(tmp_path, tiny_lm_path, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))[0])
    cut = {"max_tokens_per_micro_batch": budget, "share_prefix": share_prefix}
    parts = weights(fit(tmp_path, tiny_lm_path, optimizer=sgd, **cut)[0])
    assert (whole - parts).norm() < 1e-5 * (whole - start).norm()


def test_a_demonstration_that_no_micro_batch_holds_is_named(tmp_path, tiny_lm_path) -> None:
    with pytest.raises(ValueError, match=r"sample 'row \d+' takes \d+ tokens .* than max_tokens_per_micro_batch=9"):
        fit(tmp_path, tiny_lm_path, max_tokens_per_micro_batch=9)


def test_a_micro_batch_that_only_another_rank_has_weighs_nothing(tmp_path, tiny_lm_path) -> None:
    module, _, _ = fit(tmp_path, tiny_lm_path)
    rows = [module.encode(row) for row in Echoes().train_prompts()[:3]]
    module.zero_grad()
    means = Means()
    module.scaled_loss(rows, [], 1.0, means).backward()
    assert not any(weight.grad.any() for weight in module.actor.trainable_parameters())
    assert means.compute() == {}


def test_a_cache_of_prompts_changes_nothing(tmp_path, tiny_vl_path) -> None:
    plain, cached = (
        fit(tmp_path, tiny_vl_path, max_epochs=2, max_cached_prompts=size, optimizer=adam)[0] for size in (0, 5)
    )
    assert torch.equal(weights(plain), weights(cached))
    assert len(cached._encoded) == 5


def test_from_scratch_keeps_the_configuration_and_forgets_the_weights(tmp_path, tiny_lm_path) -> None:
    still = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.0)}
    torch.manual_seed(1)  # whatever ran before may have left the very state that the tiny model was drawn from
    trained, fresh = (weights(fit(tmp_path, tiny_lm_path, from_scratch=new, **still)[0]) for new in (False, True))
    assert trained.shape == fresh.shape
    assert (trained - fresh).norm() > 0.1 * trained.norm()
    with pytest.raises(ValueError, match="from_scratch=True has nothing to adapt"):
        SupervisedModule(Policy(path=str(tiny_lm_path), lora=Lora()), from_scratch=True)


def test_the_saved_folder_is_the_trained_policy(tmp_path, tiny_vl_path) -> None:
    folder = tmp_path / "saved"
    module, _, _ = fit(tmp_path, tiny_vl_path, optimizer=adam, save_folder=str(folder), save_dtype="float32")
    again = Policy(path=str(folder)).load_model(reference=False)
    for name, weight in module.actor.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    assert again.renderer.eos_ids == module.actor.renderer.eos_ids


def test_a_row_without_a_completion_is_named(tmp_path, tiny_lm_path) -> None:
    with pytest.raises(ValueError, match=r"sample 'row \d+' is no demonstration: its metadata must hold 'completion'"):
        fit(tmp_path, tiny_lm_path, data=Echoes(completion=False, batch_size=8, seed=0))


def test_a_checkpoint_rebuilds_the_module(tmp_path, tiny_lm_path) -> None:
    module, trainer, _ = fit(tmp_path, tiny_lm_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = SupervisedModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(weights(module), weights(again))


def test_the_warm_start_learns_from_scratch(tmp_path, monkeypatch) -> None:
    """The first steps of configs/warm_start_tiny.yaml, on small pools."""
    small = [(family, 48, share) for family, _, share in demonstrations._FAMILIES]
    monkeypatch.setattr(demonstrations, "_FAMILIES", small)
    data = demonstrations.WarmStartDemonstrations(clean_steps=30, mixed_steps=2, batch_size=16, num_eval=2, seed=0)
    _, trainer, losses = fit(
        tmp_path,
        "builtin",
        data=data,
        from_scratch=True,
        max_cached_prompts=200,
        optimizer=functools.partial(torch.optim.AdamW, lr=3e-3),
    )
    assert len(losses) == 32
    assert losses[0] == pytest.approx(math.log(796), abs=0.3)  # random weights: all 796 tokens alike
    assert sum(losses[25:30]) / 5 < 0.5 * losses[0]
    assert {"val/grid_rectangles/loss", "val/drawn_faces/loss"} <= set(trainer.callback_metrics)


def test_a_completion_that_no_model_may_write_is_named(tmp_path, tiny_lm_path) -> None:
    with pytest.raises(ValueError, match=r"sample 'row \d+' has <\|image_pad\|> in its completion"):
        fit(tmp_path, tiny_lm_path, data=Echoes(ending="<|image_pad|>", batch_size=8, seed=0))
