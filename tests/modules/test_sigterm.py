import os
import signal
import threading

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mapo.modules.sigterm import StopRequest
from mapo.rollout.abandoning import check_abandoned


@pytest.fixture
def trainer():
    before = signal.getsignal(signal.SIGTERM)
    yield Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    signal.signal(signal.SIGTERM, before)


def test_a_signal_ends_the_run_where_it_is_asked_for(trainer):
    request = StopRequest()
    request.listen(trainer)
    request.obey(trainer)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SIGTERMException):
        request.obey(trainer)


def test_a_new_fit_forgets_the_signal_of_the_last(trainer):
    request = StopRequest()
    request.listen(trainer)
    os.kill(os.getpid(), signal.SIGTERM)
    request.listen(trainer)
    assert request.obey(trainer) is None  # raised nothing


def test_a_fit_outside_the_main_thread_gets_no_signal_and_works(trainer):
    failures = []

    def fit():
        try:
            StopRequest().listen(trainer)
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.parametrize(("gives_up", "done"), [(True, ["before"]), (False, ["before", "after"])])
def test_the_run_ends_behind_a_rollout_that_is_given_up_or_cannot_be(trainer, gives_up, done):
    request, found = StopRequest(), []
    request.listen(trainer)

    def sample():
        check_abandoned()
        found.append("before")
        os.kill(os.getpid(), signal.SIGTERM)
        if gives_up:
            check_abandoned()
        found.append("after")

    with pytest.raises(SIGTERMException), request.obeyed(trainer):
        sample()
    assert found == done
