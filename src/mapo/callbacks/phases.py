"""How many rollout phases a run has done and is going to do."""

import math

from lightning.pytorch import LightningModule, Trainer


def phases_finished(trainer: Trainer) -> int:
    """Return the rollout phases finished so far, those before a resumed checkpoint included."""
    # `ready` would count a phase that an interrupt broke off
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def phases_planned(trainer: Trainer) -> int | None:
    """Return the phases of the whole fit, all epochs together.

    ``max_steps`` counts optimizer steps; how many a phase takes is known from the first phase on.

    Returns:
        The smaller of what ``max_epochs`` and ``max_steps`` allow; None while neither says.
    """
    limits = [limit for limit in (_by_epochs(trainer), _by_steps(trainer)) if limit is not None]
    return min(limits, default=None)


def step_name(module: LightningModule) -> str:
    """Return what one training step is called: a rollout phase, or just a step in a module without rollouts."""
    return "phase" if hasattr(module, "last_phase") else "step"


def _by_epochs(trainer: Trainer) -> int | None:
    if trainer.max_epochs is None or trainer.max_epochs < 0 or math.isinf(trainer.num_training_batches):
        return None
    return trainer.max_epochs * int(trainer.num_training_batches)


def _by_steps(trainer: Trainer) -> int | None:
    finished = phases_finished(trainer)
    if trainer.max_steps < 0 or finished == 0 or trainer.global_step == 0:
        return None
    return math.ceil(trainer.max_steps * finished / trainer.global_step)
