import warnings

import pytest

from mapo.callbacks.collapse import SIGNS, CollapseWarnings

HEALTHY = {
    "train/truncated_share": 0.1,
    "train/active_group_share": 0.6,
    "train/valid_share": 1.0,
    "train/entropy": 1.0,
    "train/kl": 0.02,
    "train/completion_length": 100.0,
}
ILL = {
    "train/truncated_share": (0.55, r"55% of the completions ran into model.sampling.max_completion_tokens"),
    "train/active_group_share": (0.0, r"no group taught anything.*too easy or too hard"),
    "train/valid_share": (0.5, r"50% of the completions could be scored"),
    "train/entropy": (0.01, r"entropy fell to 0.01 nats per token from 1:"),
    "train/kl": (3.0, r"3 nats per token away from its reference"),
    "train/completion_length": (12.0, r"shrank to 12 tokens from 100:"),
}


def test_every_sign_is_tried_here():
    assert {sign.metric for sign in SIGNS} == set(ILL) == set(HEALTHY)


@pytest.mark.parametrize("metric", ILL)
def test_a_sign_is_said_after_its_phases_once_and_again_when_it_comes_back(metric):
    value, words = ILL[metric]
    callback, ill = CollapseWarnings(patience=3), HEALTHY | {metric: value}
    assert callback.look(HEALTHY) == []
    assert [len(callback.look(ill)) for _ in range(6)] == [0, 0, 1, 0, 0, 0]
    assert callback.look(HEALTHY) == []
    lines = [line for _ in range(3) for line in callback.look(ill)]
    assert len(lines) == 1
    assert lines[0].startswith("for 3 phases now, ")
    with pytest.warns(UserWarning, match=words):
        warnings.warn(lines[0], stacklevel=1)


def test_a_healthy_run_is_left_alone_and_what_is_not_logged_is_not_missed():
    callback = CollapseWarnings(patience=1)
    assert [callback.look(HEALTHY) for _ in range(5)] == [[]] * 5
    assert callback.look({"train/reward": 0.5}) == []


@pytest.mark.parametrize("metric", ILL)
def test_a_phase_without_the_metric_ends_its_count(metric):
    callback, ill = CollapseWarnings(patience=2), HEALTHY | {metric: ILL[metric][0]}
    without = {name: value for name, value in HEALTHY.items() if name != metric}
    assert callback.look(HEALTHY) == []
    assert [len(callback.look(metrics)) for metrics in (ill, without, ill, ill)] == [0, 0, 0, 1]


def test_a_resumed_run_remembers_how_it_began():
    first = CollapseWarnings(patience=2)
    first.look(HEALTHY)
    first.look(HEALTHY | {"train/completion_length": 10.0})
    second = CollapseWarnings(patience=2)
    second.load_state_dict(first.state_dict())
    assert len(second.look(HEALTHY | {"train/completion_length": 10.0})) == 1


def test_the_trainer_is_told(module, phases, make_trainer):
    class Truncated(module):
        def training_step(self, prompts, batch_idx):
            super().training_step(prompts, batch_idx)
            self.last_means = {"train/truncated_share": 0.9}

    with pytest.warns(UserWarning, match=r"phase 1: for 2 phases now, 90% of the completions ran into"):
        make_trainer(CollapseWarnings(patience=2)).fit(Truncated(), phases)


def test_a_value_that_lightning_keeps_from_an_earlier_phase_is_no_sign(module, phases, make_trainer, recwarn):
    class OnceCut(module):
        def training_step(self, prompts, batch_idx):
            super().training_step(prompts, batch_idx)
            self.last_means = {} if batch_idx else {"train/truncated_share": 0.9}
            self.log_dict(self.last_means)

    trainer = make_trainer(CollapseWarnings(patience=2))
    trainer.fit(OnceCut(), phases)
    assert float(trainer.callback_metrics["train/truncated_share"]) == pytest.approx(0.9)
    assert not [warning for warning in recwarn if "completions ran into" in str(warning.message)]


def test_patience_is_checked():
    with pytest.raises(ValueError, match="patience must be >= 1 phase, got 0"):
        CollapseWarnings(patience=0)
