"""Evaluations that go on where an interrupted one was."""

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from mapo.modules import startup
from mapo.modules.answer_digest import answer_digest
from mapo.modules.evaluation import Evaluation
from mapo.modules.hyperparameters import describe
from mapo.modules.resumption import Resumption
from mapo.modules.sigterm import StopRequest
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Policy
from mapo.policies.sharding import gather, scatter
from mapo.rewards.base import Reward
from mapo.rollout.base import RolloutEngine
from mapo.types import Prompt


class Interruptible(LightningModule):
    """Keeps every batch's answers on disk until the evaluation is over.

    Started again with nothing changed that they depend on, it finds them there. A validation inside a fit keeps none.

    Attributes:
        policy: The recipe of ``actor``.
        actor: Answers.
        rollout: Samples.
        seed: Of the sampling noise.
        evaluation: How completions are drawn.
        rewards: Say what is right.
        stop_request: Asked before every batch.
        resumption: Holds what is kept.
    """

    policy: Policy
    actor: PolicyModel
    rollout: RolloutEngine
    seed: int
    evaluation: Evaluation
    rewards: tuple[Reward, ...]
    stop_request: StopRequest

    def __init__(self) -> None:
        super().__init__()
        self.resumption = Resumption()

    def on_validation_start(self) -> None:
        """Go on where an interrupted evaluation was."""
        self.begin_evaluation()

    def on_test_start(self) -> None:
        """As ``on_validation_start``."""
        self.begin_evaluation()

    def on_predict_start(self) -> None:
        """As ``on_validation_start``."""
        self.begin_evaluation()

    def on_validation_epoch_end(self) -> None:
        """Let go of what only sampling needs."""
        self.let_go()

    def on_test_epoch_end(self) -> None:
        """As ``on_validation_epoch_end``."""
        self.let_go()

    def on_predict_epoch_end(self) -> None:
        """As ``on_validation_epoch_end``."""
        self.let_go()

    def on_validation_end(self) -> None:
        """Forget the answers: callbacks have written what is to be kept of them."""
        self.resumption.end(self.trainer)

    def on_test_end(self) -> None:
        """As ``on_validation_end``."""
        self.resumption.end(self.trainer)

    def on_predict_end(self) -> None:
        """As ``on_validation_end``."""
        self.resumption.end(self.trainer)

    def let_go(self) -> None:
        """Let go of other ranks' weights, and of the memory of the rollout engine."""
        scatter(self.actor)
        self.rollout.rest()

    def begin_evaluation(self) -> None:
        """Find the answers of an interrupted evaluation, and let SIGTERM find all ranks at the same place."""
        gather(self.actor)  # for as long as it takes: ranks may have fewer batches than others, or none
        if self.evaluation.resume:
            self.resumption.begin(self.trainer, self.answer_digest)
        if self.trainer.state.fn == "fit":
            return
        self.stop_request.listen(self.trainer)
        rows = evaluation_rows(self.trainer)
        counts = {name: (self.rows_answered(name), len(prompts)) for name, prompts in rows.items()}
        found = [f"{done} of {total} rows of {name}" for name, (done, total) in counts.items() if done]
        if found:
            rank_zero_info(
                f"continuing an interrupted {_command(self.trainer)}: {', '.join(found)} are answered "
                f"({self.resumption.spool.folder}); delete the folder to start over"
            )

    def rows_answered(self, set_name: str) -> int:
        """Return how many rows of a set an interrupted evaluation had answered in every mode."""
        return self.resumption.spool.rows_answered(set_name, [mode for mode, _, _ in self.evaluation.modes(set_name)])

    @override
    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        present = any(isinstance(callback, Interruption) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return [] if present else [Interruption()]

    def answer_digest(self) -> str:
        """Return what names the answers of this evaluation."""
        rows = evaluation_rows(self.trainer)
        settings = {
            "command": _command(self.trainer),
            "seed": self.seed,
            "precision": str(self.trainer.precision),
            "sampling": {name: [describe(mode) for mode in self.evaluation.modes(name)] for name in rows},
        }
        components = {"policy": self.policy, "rollout": self.rollout, "rewards": self.rewards}
        weights = dict(self.actor.named_parameters())  # not its state dict, which would let go of other ranks' parts
        return answer_digest(weights=weights, components=components, settings=settings, sets=rows)


class Interruption(Callback):
    """Says where an evaluation that broke off has its answers, and leaves them to the next process.

    A callback of its own, since no hook of the module is called when a run ends by an error or a signal.
    """

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(pl_module, Interruptible):
            return
        folder = pl_module.resumption.break_off()
        if folder is not None:
            rank_zero_info(
                f"{_command(trainer)} was broken off; its answers so far are in {folder}, "
                "and the same command goes on from there"
            )


def evaluation_rows(trainer: Trainer) -> dict[str, Sequence[Prompt]]:
    """Return the rows of every set by name; none where a bare loader does not tell."""
    loaders = trainer.predict_dataloaders if trainer.predicting else trainer.test_dataloaders
    if trainer.validating:
        loaders = trainer.val_dataloaders
    listed = loaders if isinstance(loaders, list | tuple) else [loaders]
    names = startup.evaluation_names(trainer)
    return {name: getattr(loader, "prompts", ()) for name, loader in zip(names, listed, strict=True)}


def _command(trainer: Trainer) -> str:
    return "" if trainer.state.fn is None else trainer.state.fn.value
