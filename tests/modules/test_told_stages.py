from itertools import groupby

import pytest
from lightning.pytorch import Callback
from test_mapo import fit
from typing_extensions import override

from mapo.functional.stages import watch_stages
from mapo.rollout.transformers import TransformersEngine


class Heard(Callback):
    """Keeps what the stages of a run tell."""

    def __init__(self) -> None:
        self.told = []

    @override
    def on_train_batch_start(self, *_) -> None:
        watch_stages(lambda *told: self.told.append(told))

    @override
    def on_train_batch_end(self, *_) -> None:
        watch_stages(None)


def test_a_phase_tells_all_that_takes_long_and_how_far_it_is(tmp_path, tiny_lm_path):
    heard = Heard()
    module, _ = fit(
        tmp_path,
        tiny_lm_path,
        callbacks=[heard],
        trainer={"limit_train_batches": 1, "max_epochs": 1},
        rollout=TransformersEngine(max_batch_rows=3),
        max_tokens_per_micro_batch=40,
        kl_coef=0.01,
    )
    stages = {what: [one[1:] for one in told] for what, told in groupby(heard.told, key=lambda one: one[0])}
    assert list(stages) == [
        "prompts read",
        "completions sampled",
        "reward components",
        "micro-batches scored by the reference",
        "micro-batches trained",
    ]
    for what, told in stages.items():
        done = [one for one, _ in told]
        (total,) = {total for _, total in told}
        assert done == sorted(done), what
        assert done[0] == 0
        assert done[-1] < total
    num = len(module.last_phase.rollouts.prompts) * module.group_size
    assert stages["completions sampled"][-1] == (pytest.approx(num, abs=3), num)
    assert len(stages["micro-batches trained"]) > 2
