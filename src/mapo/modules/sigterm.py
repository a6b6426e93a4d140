"""SIGTERM: noted by the rank that gets it, acted upon by all ranks together."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mapo.modules.rank_beats import waiting
from mapo.rollout.abandoning import AbandonedError, abandoned_if


class StopRequest:
    """Whether this rank was told to end, asked only where every rank asks.

    Lightning's own handler meets the other ranks wherever the signal finds them; two that stand at different exchanges
    then wait for each other until the time limit, and its flag makes ranks leave at different batches.
    """

    def __init__(self) -> None:
        self._received = False

    def listen(self, trainer: Trainer) -> None:
        """Take SIGTERM over from Lightning, which gives the signal back to its first owner when the fit is over."""
        self._received = False

        def note(signum: int, frame: FrameType | None) -> None:
            launcher = trainer.strategy.launcher
            if launcher is not None and not self._received:
                launcher.kill(signum)  # the processes that it started
            self._received = True

        try:
            signal.signal(signal.SIGTERM, note)
        except ValueError:  # not the main thread: no signal will come here
            return

    @contextmanager
    def obeyed(self, trainer: Trainer) -> Iterator[None]:
        """Sample within this context: a rank that is told to end gives its rollout up, and all leave together after it.

        Every rank must enter it, whether it has anything to sample or not. Nothing but rollouts may be within: a rank
        that gives up goes at once to where it meets the others, so between here and there no rank may wait for another.

        Raises:
            SIGTERMException: As ``obey``.
        """
        try:
            with abandoned_if(lambda: self._received):
                yield
        except AbandonedError:
            self.obey(trainer)
            raise
        self.obey(trainer)

    def obey(self, trainer: Trainer) -> None:
        """End the run if any rank was told to; every rank must call it, and all of them leave together.

        Raises:
            SIGTERMException: Lightning lets callbacks save what they want to, and ends the process with exit code 0.
        """
        received = torch.tensor(int(self._received), device=trainer.strategy.root_device)
        with waiting():
            anyone = bool(trainer.strategy.reduce(received, reduce_op="max"))
        if anyone:
            raise SIGTERMException
