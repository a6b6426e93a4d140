import pytest
from arithmetic import Sums, make_module
from lightning.pytorch import Trainer
from lightning.pytorch.cli import instantiate_module

from mapo.modules import startup
from mapo.modules.evaluation import Draws, Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.types import Sampling

WARM = Sampling(temperature=0.9, max_completion_tokens=7)


def test_a_set_is_drawn_as_all_others_where_it_does_not_differ():
    evaluation = Evaluation(num_samples=2, sampling=WARM, sets={"hard": Draws(num_samples=8)})
    assert list(evaluation.modes("hard")) == [
        ("sampled", 8, WARM),
        ("greedy", 1, Sampling(temperature=0.0, max_completion_tokens=7)),
    ]
    assert [num for _, num, _ in evaluation.modes("easy")] == [2, 1]


def test_a_name_wins_over_patterns_and_the_first_pattern_over_the_next():
    draws = {"a*": Draws(num_samples=2), "ab*": Draws(num_samples=3), "abc": Draws(num_samples=4)}
    evaluation = Evaluation(greedy=False, sets=draws)
    assert {name: evaluation.of(name).num_samples for name in ("abc", "abd", "ac", "b")} == {
        "abc": 4,
        "abd": 2,
        "ac": 2,
        "b": 1,
    }


def test_case_counts_as_in_the_names_of_metrics():
    assert Evaluation(sets={"A*": Draws(num_samples=2)}).of("ab").num_samples == 1


@pytest.mark.parametrize(
    ("draws", "reason"),
    [
        (Draws(greedy=False, num_samples=0), "needs greedy: true or num_samples >= 1"),
        (Draws(num_samples=-1), "got num_samples=-1"),
        (Draws(sampling=Sampling(temperature=0.0)), "temperature is 0"),
    ],
)
def test_draws_of_a_set_that_evaluate_nothing_are_refused_with_its_name(draws, reason):
    with pytest.raises(ValueError, match=rf"evaluation\.sets\['hard_\*'\]: .*{reason}"):
        Evaluation(sets={"hard_*": draws})


def test_draws_for_a_set_that_does_not_exist_are_refused_with_those_that_do():
    evaluation = Evaluation(sets={"near": Draws(), "f*": Draws(), "mathverse_*": Draws(num_samples=4)})
    with pytest.raises(ValueError, match=r"'mathverse_\*', which matches no evaluation set; the sets are near, far"):
        evaluation.check(["near", "far"])
    evaluation.check(["near", "far", "mathverse_testmini"])


def predict(module, data, trainer):
    trainer.predict(module, datamodule=data)


@pytest.mark.parametrize("start", [startup.check_before_validation, predict])
def test_such_draws_are_found_before_anything_is_loaded(start, tmp_path):
    module = make_module("nowhere", evaluation=Evaluation(sets={"fra": Draws()}))
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="'fra', which matches no evaluation set; the sets are near, far"):
        start(module, Sums(), trainer)


def test_a_checkpoint_keeps_how_each_set_is_drawn(tiny_lm_path):
    evaluation = Evaluation(greedy=False, sets={"f*": Draws(num_samples=3, sampling=WARM), "near": Draws(greedy=True)})
    stored = dict(make_module(tiny_lm_path, evaluation=evaluation).hparams)
    del stored["_instantiator"]  # which names the function below
    assert instantiate_module(MAPOModule, stored).evaluation == evaluation
