"""Checkpoints that rebuild their module from plain values and always stand between two training steps."""

import inspect
from collections.abc import Sequence
from typing import Any, Self

import torch
from lightning.pytorch import Callback, LightningModule
from typing_extensions import override

from mapo.modules.checkpoint_io import use_whole_files
from mapo.modules.hyperparameters import rebuilding
from mapo.modules.optimizer_names import name_optimizer_state, trained_names


class PhaseCheckpoints(LightningModule):
    """What the checkpoints of a module hold whose training steps are whole: a rollout phase, or a batch.

    Attributes:
        absent_hyperparameters: Constructor arguments that plain values cannot describe; loading has to be given them.
        half_updated: True from the first optimizer step of a phase until it is over.
    """

    absent_hyperparameters: list[str]
    half_updated: bool = False

    @override
    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Have checkpoints written whole; called before anything is loaded."""
        use_whole_files(self.trainer)
        return super().configure_callbacks()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["absent_hyperparameters"] = self.absent_hyperparameters
        if "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = self._named(checkpoint["optimizer_states"])
        reopen_validation(checkpoint)
        if reopen_phase(checkpoint) and self.half_updated:
            raise RuntimeError(
                "this phase is half updated and cannot be saved: resumed, it would be trained on twice. "
                "Continue from the last checkpoint, which repeats the phase from its start"
            )

    def _named(self, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.device_mesh is not None:  # Lightning has numbered all weights, and on the first rank alone
            names = [name for name, _ in self.named_parameters()]
            return [name_optimizer_state(state, names) if state else state for state in states]
        pairs = zip(states, self.trainer.optimizers, strict=True)
        return [name_optimizer_state(state, trained_names(self, optimizer)) for state, optimizer in pairs]

    @classmethod
    @override
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Rebuild the module from its checkpoint; arguments given here win over the stored ones."""
        stored = torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        missing = [name for name in stored.get("absent_hyperparameters", []) if name not in kwargs]
        if missing:
            raise ValueError(
                f"{checkpoint_path} does not hold {', '.join(missing)}, which could not be stored as plain values: "
                f"pass {', '.join(f'{name}=...' for name in missing)} to load_from_checkpoint"
            )
        overrides = {name: value for name, value in kwargs.items() if name in inspect.signature(cls).parameters}
        with rebuilding(stored["hyper_parameters"], overrides) as absent:
            module = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        module.absent_hyperparameters = absent
        return module


def reopen_phase(checkpoint: dict[str, Any]) -> bool:
    """Set a checkpoint that was taken inside a phase, on an exception or a signal, back to the start of that phase.

    Args:
        checkpoint: As Lightning dumps it; its counts of batches and the loaders' positions are set back.

    Returns:
        Whether a phase was open.
    """
    loop = checkpoint["loops"]["fit_loop"]
    progress = loop["epoch_loop.batch_progress"]
    if progress["current"]["ready"] == progress["current"]["processed"]:
        return False
    for counts in (progress["total"], progress["current"]):
        counts["ready"] = counts["started"] = counts["processed"]
    progress["is_last_batch"] = False
    for loader in loop["state_dict"].get("combined_loader", ()):
        if "position" in loader:  # a PhaseLoader counts the phase in hand
            loader["position"] -= 1
    return True


def reopen_validation(checkpoint: dict[str, Any]) -> None:
    """Set a checkpoint that was taken inside a validation back to its start: what was counted is not in it.

    Lightning would go on after the rows that were answered, and report figures of the others alone.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    total, current = progress["total"], progress["current"]
    if current["ready"] == current["completed"] and (progress["is_last_batch"] or not current["ready"]):
        return
    for name in current:
        current[name] = 0
    # To Lightning this is a validation that was left in the middle of a batch; no other one is run again.
    total["processed"] = total["completed"]
    total["ready"] = total["started"] = total["completed"] + 1
