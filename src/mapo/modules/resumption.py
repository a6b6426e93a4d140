"""Finding again what an interrupted evaluation has left."""

from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from mapo.modules.hyperparameters import NotDescribableError
from mapo.modules.spool import FolderSpool, Lock, Spool

UNFINISHED = ".unfinished"


class Resumption:
    """The spool of an evaluation on its own, and the hold on its folder that keeps a second one out.

    A validation inside a fit has none: there a phase is repeated from its start.
    """

    def __init__(self) -> None:
        self.spool = Spool()
        self._lock: Lock | None = None

    def begin(self, trainer: Trainer, digest: Callable[[], str]) -> None:
        """Open the folder of this evaluation; every rank must call it.

        Args:
            trainer: About to evaluate.
            digest: Names what the answers depend on; only the first rank asks for it.
        """
        self.let_go()
        if trainer.state.fn == "fit" or trainer.fast_dev_run:  # type: ignore[attr-defined]  # bound at run time
            return
        folder = trainer.strategy.broadcast(self._claim(trainer, digest) if trainer.is_global_zero else None)
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)  # nodes need not share their disks
            self.spool = FolderSpool(folder, trainer.global_rank)
        except OSError as error:
            rank_zero_warn(_not_kept(error))

    def _claim(self, trainer: Trainer, digest: Callable[[], str]) -> Path | None:
        """Make the folder and hold it; None, and a warning, where answers cannot be kept."""
        try:
            folder = _save_dir(trainer) / UNFINISHED / digest()
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(folder / "lock")
        except BlockingIOError:
            rank_zero_warn(_not_kept("another process runs the same evaluation at this moment"))
        except (NotDescribableError, OSError) as error:
            rank_zero_warn(_not_kept(error))
        else:
            return folder
        return None

    def end(self, trainer: Trainer) -> None:
        """Remove the folder, once every rank has written its results; every rank must call it."""
        if trainer.state.fn == "fit":
            return
        self.spool.close()
        trainer.strategy.barrier()
        if trainer.local_rank == 0:  # the first of its node
            self.spool.remove()
        self.let_go()

    def break_off(self) -> Path | None:
        """Let go, and return the folder if any answers are kept there; without any it is removed."""
        folder = self.spool.folder
        if folder is not None and not any(folder.glob("*.jsonl")):
            folder = None
            if self._lock is not None:  # nobody else does: another rank may just be about to write
                self.spool.remove()
        self.let_go()
        return folder

    def let_go(self) -> None:
        """Close everything, so that another process may go on; what is kept stays."""
        self.spool.close()
        if self._lock is not None:
            self._lock.release()
        self.spool, self._lock = Spool(), None


def _save_dir(trainer: Trainer) -> Path:
    """Return a folder that is the same when the command is run again; a logger's own is a new one every time."""
    kept = (logger.save_dir for logger in trainer.loggers if logger.save_dir)
    return Path(next(kept, trainer.default_root_dir))


def _not_kept(reason: object) -> str:
    return f"an interruption would lose what has been answered, as it cannot be kept: {reason}"
