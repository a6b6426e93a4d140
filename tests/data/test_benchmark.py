import json

import pytest
from command_line import SHORT, invoke
from math_copies import mathvision, official_copy
from typing_extensions import override

from mapo.data.benchmark import Benchmark, EvaluationOnlyBenchmark
from mapo.data.mathvision import MathVision
from mapo.data.source import text
from mapo.data.wemath import WeMath


class Sums(Benchmark):
    set_prefix = "sums"
    hub_id = "nobody/sums"
    columns = ("question", "answer")
    default_eval_splits = ("test", "hard")

    @override
    def to_prompt(self, sample_id, row):
        return self.prompt(sample_id, row["question"], row["answer"])


class TestSums(EvaluationOnlyBenchmark, Sums):
    __test__ = False
    terms = "its rows are a test set"


@pytest.fixture
def rows(tmp_path):
    for split, num in (("train", 3), ("test", 2), ("hard", 1)):
        lines = [json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) for i in range(num)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    return str(tmp_path)


def test_every_split_is_a_set_of_its_own(rows):
    data = Sums(rows)
    data.setup("fit")
    assert [row.sample_id for row in data.train_set] == ["train-0", "train-1", "train-2"]
    assert {name: len(prompts) for name, prompts in data.eval_sets.items()} == {"sums_test": 2, "sums_hard": 1}
    assert data.out_of_domain_names == []


def test_splits_are_arguments_and_the_hub_id_is_the_default(rows):
    data = Sums(rows, train_split="hard", eval_splits=["train"])
    data.setup("fit")
    assert (len(data.train_set), data.eval_names) == (1, ["sums_train"])
    assert Sums().path == "nobody/sums"


def test_rows_become_prompts_when_asked_for(rows, monkeypatch):
    made = []
    monkeypatch.setattr(Sums, "to_prompt", lambda self, sample_id, row: made.append(sample_id))
    prompts = Sums(rows).read("test")
    assert (len(prompts), made) == (2, [])
    assert (prompts[1], made) == (None, ["test-1"])


def test_a_source_that_cannot_be_read_is_named_with_its_set(rows):
    with pytest.raises(ValueError, match=r"set 'sums_tests': .* has no split 'tests'; its splits are hard, "):
        Sums(rows, eval_splits=["tests"]).setup("validate")


def test_several_values_in_the_place_of_a_text_are_a_fault_of_their_row(tmp_path):
    class Texts(Sums):
        @override
        def to_prompt(self, sample_id, row):
            return self.prompt(sample_id, text(row["question"]), text(row["answer"]))

    lines = [{"question": "1 + 1?", "answer": "2"}, {"question": ["1 + 1?"], "answer": "2"}]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=r"1 of 2 rows cannot be used. 'test-1': a list stands where a text belongs"):
        Texts(str(tmp_path), eval_splits=["test"]).setup("validate")
    data = Texts(str(tmp_path), eval_splits=["test"], on_bad_row="skip")
    with pytest.warns(UserWarning, match="1 rows are counted as wrong"):
        data.setup("validate")
    assert (len(data.eval_sets["sums_test"]), list(data.bad_rows["sums_test"])) == (1, ["test-1"])


def test_fitting_on_a_test_set_is_refused(rows):
    data = TestSums(rows)
    with pytest.raises(ValueError, match="TestSums is for evaluation only: its rows are a test set") as refusal:
        data.setup("fit")
    assert "out_of_domain" in str(refusal.value)
    assert "train_on_test_set=true" in str(refusal.value)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluating_on_a_test_set_is_what_it_is_for(rows, stage):
    data = TestSums(rows)
    data.setup(stage)
    assert data.eval_names == ["sums_test", "sums_hard"]
    assert len(data.train_set) == 0


def test_a_test_set_may_be_out_of_domain_of_a_fit(rows):
    data = Sums(rows, eval_splits=["train"], out_of_domain=[TestSums(rows)])
    data.setup("fit")
    assert data.eval_names == ["sums_train", "sums_test", "sums_hard"]
    assert data.out_of_domain_names == ["sums_test", "sums_hard"]


def test_who_accepts_the_terms_trains_on_the_first_split(rows):
    data = TestSums(rows, train_on_test_set=True)
    data.setup("fit")
    assert [row.sample_id for row in data.train_set] == ["test-0", "test-1"]
    other = TestSums(rows, train_on_test_set=True, train_split="hard")
    other.setup("fit")
    assert len(other.train_set) == 1


def test_the_terms_of_the_licences():
    assert "CC BY-NC 4.0" in WeMath.terms
    assert all(not terms.endswith(".") for terms in (WeMath.terms, MathVision.terms))


def command(stage, *options):
    return (stage, "--config", "configs/mapo_tiny.yaml", "--trainer.callbacks=null", "--data=MathVision", *options)


def test_the_command_line_refuses_in_one_line(tmp_path):
    official_copy(tmp_path / "rows", "mathvision", [mathvision(str(i)) for i in range(4)], split="test")
    error = invoke(tmp_path, *command("fit", "--data.path=rows", *SHORT[:2])).error
    assert "MathVision is for evaluation only: its rows are published as a test set" in error
    assert "name this one in out_of_domain, or pass train_on_test_set=true" in error


def test_the_command_line_evaluates_and_trains_where_that_is_accepted(tmp_path):
    official_copy(tmp_path / "rows", "mathvision", [mathvision(str(i)) for i in range(4)], split="test")
    short = [option for option in SHORT if "num_" not in option]
    outcome = invoke(tmp_path, *command("validate", "--data.path=rows", *short))
    assert outcome.code == 0, outcome.err
    assert "mathvision_test" in outcome.out
    outcome = invoke(tmp_path, *command("fit", "--data.path=rows", "--data.train_on_test_set=true", *short))
    assert outcome.code == 0, outcome.err
