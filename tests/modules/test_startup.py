from types import SimpleNamespace

import pytest
from arithmetic import Sums, make_module
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.modules import startup
from mapo.policies.policy import Lora, Policy
from mapo.types import Sampling


def make_trainer(**kwargs) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", devices=1, **quiet | kwargs)


def test_greedy_training_is_refused():
    with pytest.raises(ValueError, match=r"sampling\.temperature must be > 0 in training, got 0"):
        startup.check_arguments(4, 1, 1, 0.0, None, Sampling(temperature=0.0))


def test_a_kl_weight_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"kl_coef must be >= 0 .* got nan"):
        startup.check_arguments(4, 1, 1, float("nan"), None, Sampling())


def test_a_checkpoint_by_the_clock_is_refused():
    from datetime import timedelta

    saver = ModelCheckpoint(train_time_interval=timedelta(minutes=1))
    with pytest.raises(ValueError, match=r"train_time_interval.*every_n_train_steps"):
        startup.check_trainer(make_trainer(callbacks=[saver], enable_checkpointing=True))


@pytest.mark.parametrize(
    ("precision", "policy", "message"),
    [
        ("16-mixed", Policy(), "loss scaling.*'bf16-mixed'"),
        ("16-true", Policy(), "loss scaling.*'bf16-mixed'"),
        ("bf16-true", Policy(), r"a step of 1e-6 is lost.*model\.policy\.lora"),
        ("bf16-true", Policy(lora=Lora()), r"a step of 1e-6 is lost.*use 'bf16-mixed'$"),
    ],
)
def test_precisions_that_lose_small_steps_are_refused(precision, policy, message):
    with pytest.raises(ValueError, match=message):
        startup.check_precision(SimpleNamespace(precision=precision), policy)


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_other_precisions_are_not(precision):
    startup.check_precision(SimpleNamespace(precision=precision), Policy())


def test_a_phase_divides_by_ranks_and_updates():
    data = Sums(batch_size=24)
    startup.check_batches(data, world_size=4, updates_per_phase=3)
    with pytest.raises(ValueError, match=r"batch_size=24 .* 5 ranks x 2 updates_per_phase; choose a multiple of 10"):
        startup.check_batches(data, world_size=5, updates_per_phase=2)


class Empty(Sums):
    """A training row without an answer; the evaluation sets are sound."""

    @override
    def train_prompts(self):
        return [self.prompt("bad", "1+1=", ""), *super().train_prompts()]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Empty(), "set 'train'.*'bad'"),
        (Sums(batch_size=3), "do not divide by 1 ranks x 2"),
        (Sums(num=3), "3 training rows do not fill one phase"),
    ],
)
def test_a_fit_that_opens_with_a_validation_is_checked_before_it(data, message):
    module = make_module("nowhere", updates_per_phase=2)
    with pytest.raises(ValueError, match=message):
        startup.check_before_validation(module, data, make_trainer())


def test_such_a_check_loads_nothing_and_reads_rows_once():
    class Once(Sums):
        reads = 0

        @override
        def train_prompts(self):
            self.reads += 1
            return super().train_prompts()

    data, module = Once(), make_module("nowhere")
    startup.check_before_validation(module, data, make_trainer())
    data.setup("fit")
    assert data.reads == 1
    assert not hasattr(module, "actor")


def test_long_prompts_are_refused_with_the_size_that_fits(tiny_vl_path, make_prompt):
    class Pictures(PromptDataModule):
        @override
        def train_prompts(self):
            return self.eval_prompts()["big"]

        @override
        def eval_prompts(self):
            return {"big": [make_prompt("x", (112, 112), answer="1")]}

    data = Pictures()
    data.setup("validate")
    length = Policy(path=str(tiny_vl_path)).load_renderer().prompt_length(data.eval_sets["big"][0])
    tight = Policy(path=str(tiny_vl_path), max_prompt_tokens=length - 7).load_renderer()
    # The picture's 16 tokens of 28 x 28 pixels have to become 9.
    with pytest.raises(ValueError, match=rf"'row': a prompt of {length} tokens .*max_pixels={9 * 28 * 28} would fit"):
        startup.check_prompts(data, tight, "validate")
    fitting = Policy(path=str(tiny_vl_path), max_prompt_tokens=length - 7, max_pixels=9 * 28 * 28).load_renderer()
    startup.check_prompts(data, fitting, "validate")


def test_a_budget_that_does_not_hold_the_longest_row_is_refused_by_its_sample(tmp_path, tiny_lm_path):
    data = Sums(instruction="?" * 20)
    data.setup("fit")
    length = Policy(path=str(tiny_lm_path)).load_renderer().prompt_length(data.train_set[10])  # 10+11=, one more digit
    message = rf"'sum-10' takes {length} tokens of prompt \+ 4 of completion = {length + 4}, more than .*={length + 3}"
    for budget, fits in ((length + 3, False), (length + 4, True)):
        module = make_module(tiny_lm_path, max_tokens_per_micro_batch=budget)
        trainer = make_trainer(max_steps=0, default_root_dir=tmp_path, enable_model_summary=False)
        if fits:
            trainer.fit(module, datamodule=data)
        else:
            with pytest.raises(ValueError, match=message):
                trainer.fit(module, datamodule=data)
            assert not hasattr(module, "actor")


def test_rejected_rows_are_rejected_once(tiny_lm_path):
    class Growing(Sums):
        @override
        def eval_prompts(self):
            return {"growing": self._rows(998, 3)}  # 998+999=, 999+1000=, 1000+1001=

    data = Growing(on_bad_row="skip")
    data.setup("fit")
    renderer = Policy(path=str(tiny_lm_path)).load_renderer()
    limit = renderer.prompt_length(data.eval_sets["growing"][0])
    tight = Policy(path=str(tiny_lm_path), max_prompt_tokens=limit).load_renderer()
    with pytest.warns(UserWarning, match="counted as wrong"):
        startup.check_prompts(data, tight, "validate")
    startup.check_prompts(data, tight, "validate")  # the fit after the validation measures them again
    assert (len(data.eval_sets["growing"]), len(data.bad_rows["growing"])) == (1, 2)


def test_a_row_that_the_processor_does_not_take_is_a_bad_row(tiny_vl_path, make_prompt):
    class Odd(PromptDataModule):
        @override
        def train_prompts(self):
            sizes = {"thin": (1, 300), "fine": (56, 28)}
            return [make_prompt("x", size, sample_id=name, answer="1") for name, size in sizes.items()]

        @override
        def eval_prompts(self):
            return {"odd": self.train_prompts()}

    renderer = Policy(path=str(tiny_vl_path)).load_renderer()
    strict, lenient = Odd(), Odd(on_bad_row="skip")
    strict.setup("validate")
    with pytest.raises(ValueError, match=r"set 'odd': 1 rows cannot be evaluated\. 'thin': absolute aspect ratio"):
        startup.check_prompts(strict, renderer, "validate")
    lenient.setup("validate")
    with pytest.warns(UserWarning, match="counted as wrong"):
        startup.check_prompts(lenient, renderer, "validate")
    assert ([p.sample_id for p in lenient.eval_sets["odd"]], list(lenient.bad_rows["odd"])) == (["fine"], ["thin"])
    strict.setup("fit")
    with pytest.raises(ValueError, match=r"set 'train': 1 rows cannot be used\. 'thin': absolute aspect ratio"):
        startup.check_prompts(strict, renderer, "fit")
    lenient.setup("fit")
    with pytest.warns(UserWarning, match="1 rows are left out of training. 'thin': absolute aspect ratio"):
        startup.check_prompts(lenient, renderer, "fit")
    assert [prompt.sample_id for prompt in lenient.train_set] == ["fine"]


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_an_evaluation_of_nothing_is_refused(tmp_path, tiny_lm_path, stage):
    class Unevaluated(Sums):
        @override
        def eval_prompts(self):
            return {}

    trainer = make_trainer(default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="there is nothing to evaluate: Unevaluated has no evaluation set"):
        getattr(trainer, stage)(make_module(tiny_lm_path), datamodule=Unevaluated())


def test_sets_of_bare_loaders_are_numbered():
    trainer = SimpleNamespace(predicting=False, testing=True, test_dataloaders=[[], []], val_dataloaders=None)
    assert startup.evaluation_names(trainer) == ["set_0", "set_1"]
    one = SimpleNamespace(predicting=False, testing=False, val_dataloaders=object())
    assert startup.evaluation_names(one) == ["set_0"]
