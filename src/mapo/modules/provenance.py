"""What a checkpoint was written by, and whether it fits what is about to go on from it."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
import transformers
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

import mapo
from mapo.functional.fingerprint import weights_fingerprint
from mapo.policies.model import PolicyModel


def provenance(trainer: Trainer, frozen: str | None) -> dict[str, Any]:
    """Return what wrote a checkpoint, in plain values.

    Args:
        trainer: Writes it.
        frozen: Fingerprint of the weights that are not in it.
    """
    return {"versions": _versions(), "ranks": trainer.world_size, "frozen": frozen}


def say_differences(trainer: Trainer, stored: Mapping[str, Any]) -> None:
    """Say which other versions, and how many ranks, a checkpoint was written with."""
    for name, version in _versions().items():
        before = stored.get("versions", {}).get(name, version)
        if before != version:
            rank_zero_info(f"the checkpoint was written with {name} {before}, this is {version}: figures may differ")
    ranks = stored.get("ranks", trainer.world_size)
    if ranks != trainer.world_size:
        rank_zero_info(
            f"the checkpoint was written on {ranks} ranks, this run has {trainer.world_size}: the same completions are "
            "sampled for the same prompts, and sums are rounded differently"
        )


def check_frozen(path: str, stored: Mapping[str, Any], frozen: str | None) -> None:
    """Refuse to go on where the weights that a checkpoint leaves out are others than when it was written.

    Raises:
        ValueError: They are.
    """
    before = stored.get("frozen")
    if before is not None and frozen is not None and before != frozen:
        raise ValueError(
            f"the model at {path!r} has changed since the checkpoint was written: its reference, or the weights under "
            f"its adapters, have the fingerprint {frozen} and had {before}. Set model.policy.path to the model of "
            "then, or start a new run"
        )


def frozen_fingerprint(actor: PolicyModel) -> str | None:
    """Return the fingerprint of the weights that are not in a checkpoint: the reference, or what adapters adapt.

    Returns:
        None where every weight is in it, or where weights are sharded over ranks.
    """
    reference: nn.Module | None = actor.reference
    weights = {f"reference.{name}": weight for name, weight in (reference.named_parameters() if reference else ())}
    weights |= {name: weight for name, weight in actor.named_parameters() if _is_left_out(actor, weight)}
    if not weights or any(isinstance(weight, DTensor) for weight in weights.values()):
        return None
    return weights_fingerprint(weights)


def leave_out_frozen(actor: PolicyModel, state: dict[str, Tensor], prefix: str) -> None:
    """Take the weights that adapters adapt out of a module's state: they are at the policy's path."""
    for name, weight in actor.named_parameters():
        if _is_left_out(actor, weight):
            state.pop(prefix + name, None)


def check_weights(actor: PolicyModel, state: Mapping[str, Tensor], prefix: str) -> None:
    """Refuse the weights of another model.

    Raises:
        ValueError: A trained weight is missing or of another shape; or there is one that the model has not.
    """
    own = {prefix + name: weight for name, weight in actor.state_dict().items()}
    needed = {prefix + name for name, weight in actor.named_parameters() if not _is_left_out(actor, weight)}
    faults = [f"{name} is missing" for name in sorted(needed - state.keys())]
    faults += [f"{name} is none of this model's" for name in sorted(state.keys() - own.keys())]
    faults += [
        f"{name} is {tuple(state[name].shape)} there, {tuple(own[name].shape)} here"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    if faults:
        raise ValueError(
            f"the checkpoint holds another model than model.policy describes: {faults[0]}"
            + (f", and {len(faults) - 1} more" if len(faults) > 1 else "")
            + ". Set model.policy as it was then, or start a new run without --ckpt_path"
        )


def adapts(actor: PolicyModel) -> bool:
    """Return whether adapters are trained, and what they adapt stays as it is."""
    return hasattr(actor.model, "peft_config")


def _is_left_out(actor: PolicyModel, weight: nn.Parameter) -> bool:
    return adapts(actor) and not weight.requires_grad


def _versions() -> dict[str, str]:
    packages = (mapo, torch, lightning, transformers)
    return {package.__name__: str(package.__version__) for package in packages}
