"""Checkpoints that rebuild their module from plain values and always stand between two training steps."""

import inspect
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from typing_extensions import override

from mapo.modules.checkpoint_files import read_state, require_whole
from mapo.modules.checkpoint_io import use_whole_files
from mapo.modules.hyperparameters import rebuilding
from mapo.modules.log_cursor import log_cursor, log_pending
from mapo.modules.loop_progress import mend_counts, reopen_phase, reopen_validation, validation_is_due
from mapo.modules.optimizer_names import name_optimizer_state, trained_names
from mapo.modules.provenance import (
    check_frozen,
    check_weights,
    frozen_fingerprint,
    leave_out_frozen,
    provenance,
    say_differences,
)
from mapo.modules.sharded_files import as_one_file
from mapo.modules.stop_checkpoint import StopCheckpoint
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Policy

_PREFIX = "actor."  # of the policy's weights in a module's state


class PhaseCheckpoints(LightningModule):
    """What the checkpoints of a module hold whose training steps are whole: a rollout phase, or a batch.

    Attributes:
        actor: The policy that is trained.
        policy: Its recipe.
        absent_hyperparameters: Constructor arguments that plain values cannot describe; loading has to be given them.
        half_updated: True from the first optimizer step of a phase until it is over.
    """

    actor: PolicyModel
    policy: Policy
    absent_hyperparameters: list[str]
    half_updated: bool = False
    _restored: Mapping[str, Any] = MappingProxyType({})  # what a resumed checkpoint says of where it comes from
    _frozen: str | None = None

    @override
    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Have checkpoints written whole, and one more when SIGTERM comes; called before anything is loaded."""
        use_whole_files(self.trainer)
        own = super().configure_callbacks()
        own = [own] if isinstance(own, Callback) else list(own)
        present = any(isinstance(callback, StopCheckpoint) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return own if present else [*own, StopCheckpoint()]

    def on_train_start(self) -> None:
        """Look at the weights that no checkpoint holds, and log what a resumed one had not yet logged."""
        self._frozen = frozen_fingerprint(self.actor)
        check_frozen(self.policy.path, self._restored.get("written_by", {}), self._frozen)
        log_pending(self.trainer, self._restored.get("log_cursor", {}))
        self._restored = {}

    def on_validation_start(self) -> None:
        """Log a validation that a resumed run repeats with the phase that it follows."""
        super().on_validation_start()
        loop: Any = self.trainer.fit_loop.epoch_loop
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            loop._batches_that_stepped = loop.batch_progress.total.processed - 1

    def begin_step(self) -> None:
        """Begin a training step so that a resumed run repeats it: every rank must call it first.

        What components of one's own draw at random depends on nothing that came before, so that no checkpoint holds the
        states of generators.
        """
        self.half_updated = False
        mend_counts(self.trainer)
        run, step = int(os.environ.get("PL_GLOBAL_SEED", 0)), self.trainer.fit_loop.total_batch_idx
        seeds = np.random.SeedSequence((run, step, self.global_rank))
        seed = int(seeds.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["absent_hyperparameters"] = self.absent_hyperparameters
        if "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = self._named(checkpoint["optimizer_states"])
        checkpoint["written_by"] = provenance(self.trainer, self._frozen)
        checkpoint["log_cursor"] = log_cursor(self.trainer)
        if self.device_mesh is None:  # a sharded strategy looks for every weight
            leave_out_frozen(self.actor, checkpoint["state_dict"], _PREFIX)
        reopen_validation(checkpoint, due=validation_is_due(self.trainer))
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

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "state_dict" in checkpoint:  # a sharded strategy has loaded its part itself
            check_weights(self.actor, checkpoint["state_dict"], _PREFIX)
        self._restored = {name: checkpoint[name] for name in ("written_by", "log_cursor") if name in checkpoint}
        if self._trainer is not None:  # load_from_checkpoint has none
            say_differences(self.trainer, self._restored.get("written_by", {}))

    @classmethod
    @override
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Rebuild the module from its checkpoint; arguments given here win over the stored ones.

        Of a sharded checkpoint, a folder, the weights are held twice meanwhile.

        Raises:
            ValueError: It is damaged, or holds not every argument.
        """
        local = isinstance(checkpoint_path, str | Path) and "://" not in str(checkpoint_path)
        if local:
            require_whole(Path(checkpoint_path))
        sharded = local and Path(checkpoint_path).is_dir()
        stored = (
            read_state(Path(checkpoint_path))
            if sharded
            else torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        )
        missing = [name for name in stored.get("absent_hyperparameters", []) if name not in kwargs]
        if missing:
            raise ValueError(
                f"{checkpoint_path} does not hold {', '.join(missing)}, which could not be stored as plain values: "
                f"pass {', '.join(f'{name}=...' for name in missing)} to load_from_checkpoint"
            )
        overrides = {name: value for name, value in kwargs.items() if name in inspect.signature(cls).parameters}
        with rebuilding(stored["hyper_parameters"], overrides) as absent:
            file = as_one_file(Path(checkpoint_path)) if sharded else checkpoint_path
            module = super().load_from_checkpoint(file, *args, **kwargs)
        module.absent_hyperparameters = absent
        return module
