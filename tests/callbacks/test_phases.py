import pytest
from lightning.pytorch import Callback

from mapo.callbacks.phases import phases_finished, phases_planned


class Watch(Callback):
    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        self.seen.append((phases_finished(trainer), phases_planned(trainer)))

    def on_train_batch_end(self, trainer, *_):
        self.seen.append((phases_finished(trainer), phases_planned(trainer)))


@pytest.mark.parametrize(
    ("limits", "planned", "later"),
    [
        ({"max_epochs": 2}, 6, 6),
        ({"max_epochs": -1, "max_steps": 5}, None, 3),  # two optimizer steps per phase, looked at between phases
        ({"max_epochs": 2, "max_steps": 4}, 6, 2),
        ({"max_epochs": 1, "max_steps": 100}, 3, 3),
        ({"max_epochs": 1, "limit_train_batches": 2}, 2, 2),
    ],
)
def test_the_plan_is_kept(module, make_trainer, phases, limits, planned, later):
    watch = Watch()
    make_trainer(watch, **limits).fit(module(updates=2), phases)
    assert watch.seen == [(0, planned), *((done, later) for done in range(1, later + 1))]


def test_phases_without_an_optimizer_step_leave_the_plan_open(module, make_trainer, phases):
    watch = Watch()
    trainer = make_trainer(watch, max_epochs=-1, max_steps=2, max_time={"seconds": 1}, limit_train_batches=1)
    trainer.fit(module(updates=0), phases)
    assert watch.seen[:2] == [(0, None), (1, None)]
