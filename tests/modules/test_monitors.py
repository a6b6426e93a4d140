from types import SimpleNamespace

import pytest
from arithmetic import EvenLength, Sums
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from typing_extensions import override

from mapo.modules.evaluation import Draws, Evaluation
from mapo.modules.evaluator import Evaluator
from mapo.modules.monitors import check_monitors
from mapo.rewards.think_format import ThinkFormat


class Levels(Sums):
    """Near sums have levels and a figure of their own; far sums are out of domain."""

    @override
    def eval_prompts(self):
        near, far = super().eval_prompts().values()
        return {"near": [p._replace(metadata={"categories": {"level": "1"}}) for p in near], "far": far}

    @property
    @override
    def out_of_domain_names(self):
        return ["far"]

    @override
    def figures(self, name, accuracies):
        return {"weakest": min(accuracies.values())} if name == "near" else {}


EVALUATION = Evaluation(num_samples=4, sets={"far": Draws(num_samples=1)})
REWARDS = [EvenLength(), ThinkFormat()]


def check(monitor, data=None, evaluation=EVALUATION, callback=ModelCheckpoint):
    data = data or Levels()
    data.setup("validate")
    trainer = SimpleNamespace(callbacks=[SimpleNamespace(), callback(monitor=monitor)])
    check_monitors(trainer, data, Evaluator(evaluation, REWARDS) if evaluation else None)


@pytest.mark.parametrize(
    "monitor",
    [
        None,
        "train/reward",
        "val/near/accuracy",
        "val/near/accuracy_low_greedy",
        "val/near/pass@2",
        "val/near/pass@4",
        "val/far/think_format",
        "val/near/accuracy/level/1",
        "val/near/accuracy_greedy/level/1",
        "val/near/weakest_greedy",
        "val/A",
        "val/A_S",
        "val/A_T_greedy",
    ],
)
def test_what_will_be_logged_may_be_monitored(monitor):
    check(monitor)


@pytest.mark.parametrize(
    ("monitor", "words"),
    [
        ("val/middle/accuracy", "the evaluation sets are near, far; .* such as val/near/accuracy"),
        ("val/accuracy", "the evaluation sets are near, far"),
        ("val/near", "no figure of the set"),
        ("val/near/acuracy", r"its figures are accuracy, .*pass@4.*; did you mean val/near/accuracy\?"),
        ("val/far/pass@2", "no figure of the set"),  # a single sample there
        ("val/near/pass@3", "no figure of the set"),
        ("val/near/maj@4", "no figure of the set"),  # the accuracy reads no answers
        ("val/near/accuracy/level/2", r"did you mean val/near/accuracy/level/1\?"),
        ("val/far/weakest", "no figure of the set"),
        ("val/near/num_bad_rows", "no figure of the set"),  # there are none
    ],
)
def test_what_will_not_is_refused_with_what_there_is(monitor, words):
    with pytest.raises(ValueError, match=f"ModelCheckpoint monitors '{monitor}', but.*{words}"):
        check(monitor)


def test_every_callback_that_waits_is_asked():
    with pytest.raises(ValueError, match="EarlyStopping monitors 'val/none/accuracy'"):
        check("val/none/accuracy", callback=EarlyStopping)


def test_a_summary_needs_sets_of_both_kinds():
    with pytest.raises(ValueError, match=r"'val/A', but the summary of all sets needs .*near, far none is out of dom"):
        check("val/A", data=Sums())


def test_a_summary_needs_a_mode_that_all_sets_have():
    only_near = Evaluation(sets={"far": Draws(greedy=False)})
    check("val/A", evaluation=only_near)
    with pytest.raises(ValueError, match=r"each answered in that mode; of near, far far is out of domain"):
        check("val/A_greedy", evaluation=only_near)


def test_without_an_evaluator_the_set_is_all_that_is_known():
    check("val/near/loss", evaluation=None)
    with pytest.raises(ValueError, match="the evaluation sets are near, far"):
        check("val/A", evaluation=None)
