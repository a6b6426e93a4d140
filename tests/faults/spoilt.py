"""A component for a run of the command line: numbers that are not finite, in one place, in some phases."""

import json
import shutil
from pathlib import Path

from lightning.pytorch import Callback

from mapo.rewards.math_answer import MathAnswer

WHOLE = MathAnswer.__call__


def spoiling(folder: Path, place: str, number: str, phases: list[int]) -> list[str]:
    """Return the arguments by which a run in a folder gets such numbers."""
    shutil.copy(__file__, folder)
    callback = {"class_path": "spoilt.Spoil", "init_args": {"place": place, "number": float(number), "phases": phases}}
    return [f"--trainer.callbacks+={json.dumps(callback).replace('NaN', '.nan').replace('Infinity', '.inf')}"]


class Spoil(Callback):
    """Multiplies what is at a place of training by a number.

    Args:
        place: "loss", "gradient", "log_probs" (of the policy, in the update) or "reward" (of the first completion).
        number: inf or nan.
        phases: In which it happens.
    """

    def __init__(self, place: str, number: float, phases: list[int]) -> None:
        self.place, self.number, self.phases = place, number, phases
        self._undo = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.total_batch_idx in self.phases:
            getattr(self, f"_spoil_{self.place}")(module)

    def on_train_batch_end(self, *_):
        while self._undo:
            self._undo.pop()()

    def _spoil_loss(self, module):
        whole = module.objective.__class__.__call__
        number = self.number
        type(module.objective).__call__ = lambda *args, **kwargs: whole(*args, **kwargs) * number
        self._undo.append(lambda: setattr(type(module.objective), "__call__", whole))

    def _spoil_gradient(self, module):
        weight = list(module.actor.trainable_parameters())[-1]
        self._undo.append(weight.register_hook(lambda gradient: gradient * self.number).remove)

    def _spoil_log_probs(self, module):
        (norm,) = [part for name, part in module.actor.named_modules() if name.endswith("language_model.norm")]
        hook = norm.register_forward_hook(lambda _, __, out: out * self.number if out.requires_grad else None)
        self._undo.append(hook.remove)

    def _spoil_reward(self, module):
        number = self.number
        MathAnswer.__call__ = lambda *args: [number, *WHOLE(*args)[1:]]
        self._undo.append(lambda: setattr(MathAnswer, "__call__", WHOLE))
