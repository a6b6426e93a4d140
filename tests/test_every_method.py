"""Every method trains the demo: its YAML on top of `mapo_tiny.yaml`, for two phases."""

import math

import pytest
import torch
import yaml
from command_line import CONFIGS
from lightning.pytorch import Callback, Trainer

from mapo.cli import OneLineParser
from mapo.data.grid_rectangles import GridRectangles
from mapo.modules.mapo import MAPOModule

METHODS = sorted(path.stem for path in CONFIGS.glob("algorithm/*.yaml"))
# What every surrogate logs of the groups with a signal; the clipped one of most methods has a third bound.
RATIOS = {"importance_ratio", "clip_fraction_low", "clip_fraction_high"}
TWO_BOUNDS = {"gspo", "cispo"}
OF_ITS_OWN = {"dapo": {"sampled_waves", "found_group_share", "unused_prompt_share", "reward/length_credit"}}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Return the module that a list of configurations amounts to, read as the command line reads them."""
    parser = OneLineParser()
    parser.add_argument("--config", action="config")
    parser.add_lightning_class_args(MAPOModule, "model")
    folder = tmp_path_factory.mktemp("model")

    def module(*names: str) -> MAPOModule:
        arguments = []
        for name in names:
            model = yaml.safe_load((CONFIGS / name).read_text())["model"]
            part = folder / name.replace("/", "_")
            part.write_text(yaml.safe_dump({"model": model}))
            arguments += ["--config", str(part)]
        return parser.instantiate_classes(parser.parse_args(arguments)).model

    return module


class Phases(Callback):
    def __init__(self) -> None:
        self.logs, self.advantages = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.logs.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.advantages.append(module.last_phase.advantages)


def weights(module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.actor.trainable_parameters()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is not stored in checkpoints", "ignore::DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_the_demo(build, tmp_path, method):
    module, phases = build("mapo_tiny.yaml", f"algorithm/{method}.yaml"), Phases()
    module.configure_model()
    before = weights(module)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=0,
        logger=False,
        callbacks=[phases],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=GridRectangles(num_train=24, num_eval=1, batch_size=4))
    assert len(phases.logs) == 2
    for log, advantages in zip(phases.logs, phases.advantages, strict=True):
        assert 0 < log["train/active_group_share"] <= 1
        assert log["train/advantage_magnitude"] == pytest.approx(float(advantages.abs().mean()))
        assert math.isfinite(log["train/policy_loss"])
        assert log["train/gradient_norm"] > 0
        of_groups = {name.removeprefix("train/trained_groups/") for name in log if "trained_groups" in name}
        assert of_groups >= RATIOS
        assert log.keys() >= {f"train/{name}" for name in OF_ITS_OWN.get(method, ())}
        assert ("clip_fraction_dual" in of_groups) == (method not in TWO_BOUNDS)
    assert not torch.equal(weights(module), before)
    assert torch.isfinite(weights(module)).all()
