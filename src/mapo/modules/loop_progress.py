"""Lightning's counts of epochs, batches and validations, as a run that is resumed any number of times needs them."""

from typing import Any

from lightning.pytorch import Trainer


def mend_counts(trainer: Trainer) -> None:
    """At the beginning of a training step, set the counts to what they are in a run that was never interrupted.

    Lightning resumes from a checkpoint of the last step of an epoch with the next epoch not counted as begun. The run
    goes on as it should, but resumed from one of its own checkpoints it would take every epoch for longer.
    """
    loop: Any = trainer.fit_loop  # Lightning declares less of its counts than they have
    for epochs in (loop.epoch_progress.total, loop.epoch_progress.current):
        epochs.ready = epochs.started = epochs.completed + 1
    steps = loop.epoch_loop.batch_progress.total
    steps.completed = steps.processed
    # The step of the loggers; according to where the checkpoint was saved it comes back one too low or too high.
    loop.epoch_loop._batches_that_stepped = steps.processed


def validation_is_due(trainer: Trainer) -> bool:
    """Return whether a step is over, and the validation that follows it has not begun."""
    loop: Any = trainer.fit_loop.epoch_loop
    steps, fetcher = loop.batch_progress.current, trainer.fit_loop._data_fetcher
    return steps.completed < steps.processed and fetcher is not None and bool(loop._should_check_val_fx(fetcher))


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


def reopen_validation(checkpoint: dict[str, Any], *, due: bool = False) -> None:
    """Set a checkpoint that was taken inside a validation back to its start: what was counted is not in it.

    Lightning would go on after the rows that were answered, and report figures of the others alone. A validation that
    was about to begin it would leave out.

    Args:
        checkpoint: As Lightning dumps it.
        due: A validation follows the step that has just ended.
    """
    loop = checkpoint["loops"]["fit_loop"]
    progress = loop["epoch_loop.val_loop.batch_progress"]
    total, current = progress["total"], progress["current"]
    if due:
        for steps in (loop["epoch_loop.batch_progress"][counts] for counts in ("total", "current")):
            steps["completed"] = steps["processed"]
    elif current["ready"] == current["completed"] and (progress["is_last_batch"] or not current["ready"]):
        # One that was itself run again has counted on from what is set below: it is over, and no longer in a batch.
        total["ready"] = total["started"] = total["processed"] = total["completed"]
        return
    for name in current:
        current[name] = 0
    # To Lightning this is a validation that was left in the middle of a batch; no other one is run again.
    total["processed"] = total["completed"]
    total["ready"] = total["started"] = total["completed"] + 1
