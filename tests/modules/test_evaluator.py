from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from arithmetic import EvenLength, Sums
from typing_extensions import override

from mapo.modules.evaluation import Draws, Evaluation
from mapo.modules.evaluator import Evaluator, is_category_size, summary
from mapo.modules.records import EvaluationRecord
from mapo.rewards.base import Reward
from mapo.types import Completion, EncodedPrompt, Rollouts, Scores

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Tidy(Reward):
    def __call__(self, completions):
        return [1.0] * len(completions)


@dataclass(frozen=True)
class SuccessRate(Tidy):
    """Has the name of a figure."""


@dataclass(frozen=True)
class Reading(EvenLength):
    name = "even_length"

    def answer(self, completion):
        return completion.text


class Graded(Sums):
    """Near sums by their last digit's parity, a figure of their own, and far sums out of domain, the last one bad."""

    @override
    def eval_prompts(self):
        near, far = super().eval_prompts().values()
        kinds = [{"categories": {"parity": "even" if i % 2 else "odd"}} for i in range(len(near))]
        near = [p._replace(metadata=kind) for p, kind in zip(near, kinds, strict=True)]
        return {"near": near, "far": [*far[:-1], far[-1]._replace(answer="")]}

    @property
    @override
    def out_of_domain_names(self):
        return ["far"]

    @override
    def figures(self, name, accuracies):
        if name == "far":
            return {}
        return {"weakest": min(accuracies.values()), "accuracy": 99.0}


def answer(evaluator: Evaluator, prompts, set_name: str, mode: str, accuracy: list[list[float]]) -> None:
    """Have the prompts answered with this accuracy; a right completion says 4, a wrong one 5."""
    groups = tuple(
        tuple(Completion(p, "", "4" if value else "5", torch.arange(3), truncated=False) for value in values)
        for p, values in zip(prompts, accuracy, strict=True)
    )
    values = torch.tensor(accuracy)
    scores = Scores(
        values, values == 1, values, values >= 0, {"even_length": values, "tidy": torch.full_like(values, 0.5)}
    )
    encoded = tuple(EncodedPrompt(p, torch.arange(2), {}, "") for p in prompts)
    evaluator.update(EvaluationRecord("val", set_name, mode, Rollouts(encoded, groups, (), 1.0), scores), CPU)


@pytest.fixture
def data() -> Graded:
    made = Graded(on_bad_row="skip")
    with pytest.warns(UserWarning, match="counted as wrong"):
        made.setup("validate")
    return made


def test_every_set_has_the_figures_of_its_own_modes(data):
    evaluation = Evaluation(greedy=False, num_samples=2, sets={"f*": Draws(greedy=True, num_samples=0)})
    evaluator = Evaluator(evaluation, [Reading(), Tidy()])
    near = [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    answer(evaluator, data.eval_sets["near"], "near", "sampled", near)
    answer(evaluator, data.eval_sets["far"], "far", "greedy", [[1.0], [0.0]])
    found = evaluator.compute("val", data.eval_names, SimpleNamespace(datamodule=data), CPU)

    assert found["val/near/accuracy"] == 0.5
    assert found["val/near/pass@2"] == 3 / 5
    assert found["val/near/maj@2"] == pytest.approx((1 + 0 + 1 / 2 + 1 + 0) / 5)
    assert found["val/near/tidy"] == 0.5
    assert found["val/near/weakest"] == 0.0
    assert found["val/near/accuracy/parity/odd"] == pytest.approx((1 + 1 / 2 + 0) / 3)  # rows 0, 2, 4
    assert found["val/near/num_samples/parity/odd"] == 3
    assert found["val/near/accuracy/parity/even"] == 0.5  # rows 1, 3
    assert found["val/far/accuracy_greedy"] == pytest.approx(1 / 3)  # one of two, and the bad row
    assert found["val/far/num_bad_rows_greedy"] == 1
    assert not {name for name in found if name.startswith("val/far/") and "greedy" not in name}
    assert not {name for name in found if name.startswith("val/A")}  # no mode is that of both sets
    known = {f"val/near/{name}" for name in evaluator.figure_names("near", data)}
    assert known == {name for name in found if name.startswith("val/near/")}


def test_all_sets_are_summed_up_in_the_modes_that_they_share(data):
    evaluator = Evaluator(Evaluation(sets={"far": Draws(num_samples=0)}), [EvenLength()])
    answer(evaluator, data.eval_sets["near"], "near", "sampled", [[1.0]] * 5)
    answer(evaluator, data.eval_sets["near"], "near", "greedy", [[1.0]] * 4 + [[0.0]])
    answer(evaluator, data.eval_sets["far"], "far", "greedy", [[1.0], [1.0]])
    found = evaluator.compute("val", data.eval_names, SimpleNamespace(datamodule=data), CPU)
    assert {name: value for name, value in found.items() if name.startswith("val/A")} == {
        "val/A_S_greedy": 0.8,
        "val/A_T_greedy": pytest.approx(2 / 3),
        "val/A_greedy": pytest.approx((0.8 + 2 / 3) / 2),
    }


def test_the_summary_weighs_every_set_alike():
    figures = {"val/a/accuracy": 0.9, "val/b/accuracy": 0.5, "val/c/accuracy": 0.1}
    assert summary("val", ["a", "b", "c"], ["b", "c"], figures) == pytest.approx(
        {"val/A_S": 0.9, "val/A_T": 0.3, "val/A": 0.6}
    )
    assert summary("val", ["a", "b", "c"], [], figures) == {}


def test_a_benchmark_cannot_replace_a_figure(data):
    evaluator = Evaluator(Evaluation(greedy=False), [EvenLength()])
    answer(evaluator, data.eval_sets["near"], "near", "sampled", [[1.0]] * 5)
    assert evaluator.compute("val", ["near"], SimpleNamespace(datamodule=data), CPU)["val/near/accuracy"] == 1.0


def test_computing_twice_counts_bad_rows_once(data):
    evaluator = Evaluator(Evaluation(greedy=False), [EvenLength()])
    answer(evaluator, data.eval_sets["far"], "far", "sampled", [[1.0], [1.0]])
    trainer = SimpleNamespace(datamodule=data)
    assert evaluator.compute("val", ["far"], trainer, CPU) == evaluator.compute("val", ["far"], trainer, CPU)


def test_a_row_that_is_rejected_while_it_is_asked_counts_as_wrong_once(data):
    evaluator, trainer = Evaluator(Evaluation(num_samples=2), [EvenLength()]), SimpleNamespace(datamodule=data)
    for _ in range(2):  # as in a fit, where every validation meets it again
        evaluator.reset()
        for mode, right in (("sampled", [[1.0, 1.0]]), ("greedy", [[1.0]])):
            answer(evaluator, data.eval_sets["far"][:1], "far", mode, right)
        evaluator.reject("val", "far", {"sum-1001": "its picture is cut off"}, CPU)
        found = evaluator.compute("val", ["far"], trainer, CPU)
        for suffix in ("", "_greedy"):  # one of the three, and one had been bad before
            assert found[f"val/far/accuracy{suffix}"] == pytest.approx(1 / 3)
            assert found[f"val/far/num_bad_rows{suffix}"] == 2
            assert found[f"val/far/num_samples_evaluated{suffix}"] == 3
    assert list(data.bad_rows["far"].items())[1:] == [("sum-1001", "its picture is cut off")]


def test_reset_leaves_nothing_of_an_interrupted_evaluation(data):
    evaluator = Evaluator(Evaluation(greedy=False), [EvenLength()])
    for accuracy in (0.0, 1.0):
        evaluator.reset()
        answer(evaluator, data.eval_sets["near"], "near", "sampled", [[accuracy]] * 5)
    found = evaluator.compute("val", ["near"], SimpleNamespace(datamodule=data), CPU)
    assert (found["val/near/accuracy"], found["val/near/num_samples_evaluated"]) == (1.0, 5)


def test_bare_loaders_have_no_bad_rows_and_no_summary(data):
    evaluator = Evaluator(Evaluation(greedy=False), [EvenLength()])
    answer(evaluator, data.eval_sets["far"], "set_0", "sampled", [[1.0], [0.0]])
    found = evaluator.compute("val", ["set_0"], SimpleNamespace(datamodule=None), CPU)
    assert found["val/set_0/accuracy"] == 0.5


def test_a_row_that_was_evaluated_twice_is_refused(data):
    evaluator = Evaluator(Evaluation(greedy=False), [EvenLength()])
    for _ in range(2):
        answer(evaluator, data.eval_sets["far"], "far", "sampled", [[1.0], [0.0]])
    with pytest.raises(ValueError, match="2 samples were evaluated twice, 'sum-1000'"):
        evaluator.compute("val", ["far"], SimpleNamespace(datamodule=data), CPU)


def test_a_reward_with_the_name_of_a_figure_is_refused():
    with pytest.raises(ValueError, match="reward 'success_rate' has the name of a figure"):
        Evaluator(Evaluation(), [EvenLength(), SuccessRate()])


def test_only_sizes_of_categories_are_kept_from_loggers():
    names = ["val/a/num_samples/level/1", "val/num_samples/accuracy", "val/a/num_samples_evaluated", "val/A"]
    assert [is_category_size(name) for name in names] == [True, False, False, False]
