"""Signs that a run is going wrong, said in words while it can still be stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from mapo.callbacks.phases import phases_finished


@dataclass(frozen=True)
class Sign:
    """One way in which a run goes wrong.

    Attributes:
        metric: What is looked at.
        below: Worrying below this; relative to the first phases' value where ``relative``.
        above: Worrying above this, likewise.
        relative: Whether the limits are multiples of the value at the start of the run.
        advice: What it means and what to do; ``{value}`` and ``{start}`` are filled in.
    """

    metric: str
    advice: str
    below: float = float("-inf")
    above: float = float("inf")
    relative: bool = False

    def shows(self, value: float, start: float) -> bool:
        """Return whether this value is a sign, given the one at the start."""
        unit = start if self.relative else 1.0
        return value < self.below * unit or value > self.above * unit


SIGNS = (
    Sign(
        "train/truncated_share",
        "{value:.0%} of the completions ran into model.sampling.max_completion_tokens, so that their answers were cut "
        "off: raise it, or reward short answers (mapo.rewards.length.LengthCredit)",
        above=0.2,
    ),
    Sign(
        "train/active_group_share",
        "no group taught anything, since all completions of a prompt earned the same: the prompts are all too easy or "
        "too hard for this policy, or a reward never pays; see train/accuracy and the table of completions",
        below=1e-9,
    ),
    Sign(
        "train/valid_share",
        "{value:.0%} of the completions could be scored: a reward fails on the others and takes them out of training; "
        "see its warnings",
        below=0.8,
    ),
    Sign(
        "train/entropy",
        "the entropy fell to {value:.3g} nats per token from {start:.3g}: the policy says the same again and again and "
        "explores no more; lower the learning rate, raise clip_high or kl_coef",
        below=0.05,
        relative=True,
    ),
    Sign(
        "train/kl",
        "the policy is {value:.3g} nats per token away from its reference: it may have forgotten its language; look at "
        "the table of completions, lower the learning rate or raise kl_coef",
        above=1.0,
    ),
    Sign(
        "train/completion_length",
        "completions shrank to {value:.0f} tokens from {start:.0f}: a reward may pay for answers without reasoning; "
        "look at the table of completions",
        below=0.25,
        relative=True,
    ),
)


class CollapseWarnings(Callback):
    """Warns, once per sign until it is gone, when a sign of collapse has shown for several phases in a row.

    Looked at are truncated, unscorable and silent completions, entropy, KL and length, as the module logged them for
    the phase (its ``last_means``): Lightning's ``callback_metrics`` keep old values of names that are logged no more.

    Args:
        patience: Phases in a row that a sign must show.
    """

    def __init__(self, patience: int = 3) -> None:
        if patience < 1:
            raise ValueError(f"patience must be >= 1 phase, got {patience}")
        self.patience = patience
        self._start: dict[str, float] = {}
        self._shown: dict[str, int] = {}

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for line in self.look(getattr(pl_module, "last_means", {})):
            rank_zero_warn(f"phase {phases_finished(trainer) - 1}: {line}")

    def look(self, metrics: Mapping[str, float]) -> list[str]:
        """Take a phase's metrics in, and return what has to be said now; a sign that is not among them is gone."""
        lines = []
        for sign in SIGNS:
            value = metrics.get(sign.metric)
            if value is None:
                self._shown[sign.metric] = 0
                continue
            start = self._start.setdefault(sign.metric, value)
            self._shown[sign.metric] = self._shown.get(sign.metric, 0) + 1 if sign.shows(value, start) else 0
            if self._shown[sign.metric] == self.patience:
                lines.append(f"for {self.patience} phases now, " + sign.advice.format(value=value, start=start))
        return lines

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"start": self._start, "shown": self._shown}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start, self._shown = dict(state_dict["start"]), dict(state_dict["shown"])
