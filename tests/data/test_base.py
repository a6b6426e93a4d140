from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from mapo.data.base import PromptDataModule
from mapo.types import Prompt


class Additions(PromptDataModule):
    """Rows ``a + a``; those in ``unanswered`` lack an answer."""

    def __init__(self, name: str = "additions", unanswered: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.unanswered = unanswered

    def train_prompts(self) -> Sequence[Prompt]:
        return self.rows("train", 10)

    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        return {self.name: self.rows("val", 6), f"{self.name}_hard": self.rows("hard", 3)}

    def rows(self, split: str, num: int) -> Sequence[Prompt]:
        answers = ["" if i in self.unanswered else str(2 * i) for i in range(num)]
        return [self.prompt(f"{split}-{i}", f"{i} + {i}?", answers[i], level=i) for i in range(num)]


def ids(prompts):
    return [prompt.sample_id for prompt in prompts]


def test_a_row_carries_instruction_system_and_metadata():
    prompt = Additions(instruction="Just the number.", system="Be brief.").prompt("a", "1 + 1?", "2", level=3)
    assert [message["content"] for message in prompt.messages] == ["Be brief.", "1 + 1?\n\nJust the number."]
    assert (prompt.answer, prompt.metadata) == ("2", {"level": 3})


def test_fit_reads_all_sets_and_evaluation_no_training_row():
    data = Additions()
    data.setup("validate")
    assert (len(data.train_set), data.eval_names) == (0, ["additions", "additions_hard"])
    data.setup("fit")
    assert [len(data.train_set), *map(len, data.eval_sets.values())] == [10, 6, 3]
    assert [len(list(loader)) for loader in data.val_dataloader()] == [1, 1]


def test_limits_take_the_first_rows():
    data = Additions(max_train_samples=4, max_eval_samples=2)
    data.setup("fit")
    assert ids(data.train_set) == [f"train-{i}" for i in range(4)]
    assert [ids(rows) for rows in data.eval_sets.values()] == [["val-0", "val-1"], ["hard-0", "hard-1"]]


def test_out_of_domain_sets_follow_and_keep_their_own_settings():
    other = Additions(name="far", max_eval_samples=1, on_bad_row="skip")
    data = Additions(out_of_domain=[other])
    data.setup("fit")
    assert data.eval_names == ["additions", "additions_hard", "far", "far_hard"]
    assert [len(rows) for rows in data.eval_sets.values()] == [6, 3, 1, 1]
    assert len(other.train_set) == 0


def test_two_sets_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two evaluation sets are called 'additions'"):
        Additions(out_of_domain=[Additions()]).setup("validate")


def test_bad_rows_stop_the_run_unless_skipped():
    with pytest.raises(ValueError, match=r"set 'train': 1 of 10 rows cannot be used. 'train-4'"):
        Additions(unanswered=[4]).setup("fit")


def test_skipped_rows_leave_training_and_are_kept_for_the_denominator_of_evaluation():
    data = Additions(unanswered=[4], on_bad_row="skip")
    with pytest.warns(UserWarning, match="set 'additions': 1 rows are counted as wrong. 'val-4': the answer is empty"):
        data.setup("fit")
    assert "train-4" not in ids(data.train_set)
    assert [len(data.eval_sets[name]) + len(data.bad_rows[name]) for name in data.eval_names] == [6, 3]
    assert list(data.bad_rows["additions"]) == ["val-4"]


def test_a_warning_names_so_many_rows_that_it_can_be_read():
    data = Additions(on_bad_row="skip")
    data.setup("validate")
    with pytest.warns(UserWarning, match="300 rows are counted as wrong") as warnings:
        data.reject_eval_rows("additions", {f"row-{i}": "too long" for i in range(300)})
    assert str(warnings[0].message).endswith("'row-19': too long; and 280 more")


def test_dropped_training_rows_are_counted_and_named():
    data = Additions(batch_size=2)
    data.setup("fit")
    with pytest.warns(UserWarning, match="2 rows are left out of training. 'train-1': 8 tokens; 'train-7': 9 tokens"):
        data.drop_training_rows({"train-1": "8 tokens", "train-7": "9 tokens"})
    assert ids(data.train_set) == [f"train-{i}" for i in (0, 2, 3, 4, 5, 6, 8, 9)]
    assert len(data.train_dataloader()) == 4
    data.drop_training_rows({})
    assert len(data.train_set) == 8
    with pytest.raises(ValueError, match=r"all 8 training rows are dropped: 'train-0': 9 tokens; .* and 3 more"):
        data.drop_training_rows(dict.fromkeys(ids(data.train_set), "9 tokens"))


def test_training_rows_found_bad_later_stop_the_run_or_are_left_out():
    data = Additions()
    data.setup("fit")
    with pytest.raises(ValueError, match=r"set 'train': 1 rows cannot be used. 'train-1': no picture. Mend .*='skip'"):
        data.reject_training_rows({"train-1": "no picture"})
    data = Additions(on_bad_row="skip")
    data.setup("fit")
    with pytest.warns(UserWarning, match="1 rows are left out of training. 'train-1': no picture"):
        data.reject_training_rows({"train-1": "no picture"})
    assert len(data.train_set) == 9


def test_evaluation_rows_rejected_later_stop_the_run_or_count_as_wrong():
    data = Additions()
    data.setup("validate")
    with pytest.raises(ValueError, match=r"set 'additions': 1 rows cannot be evaluated. 'val-2': too long"):
        data.reject_eval_rows("additions", {"val-2": "too long"})
    data = Additions(on_bad_row="skip")
    data.setup("validate")
    with pytest.raises(ValueError, match=r"none of its \d rows can be evaluated. 'val-0': too long"):
        data.reject_eval_rows("additions", dict.fromkeys(ids(data.eval_sets["additions"]), "too long"))
    with pytest.warns(UserWarning, match="counted as wrong"):
        data.reject_eval_rows("additions", {"val-2": "too long"})
    assert (len(data.eval_sets["additions"]), data.bad_rows["additions"]) == (5, {"val-2": "too long"})


def test_the_order_follows_the_seed_of_seed_everything_unless_given(monkeypatch):
    def order(**kwargs):
        data = Additions(batch_size=2, **kwargs)
        data.setup("fit")
        return [ids(phase) for phase in data.train_dataloader()]

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert order() == order(seed=0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert order() == order(seed=5) != order(seed=0)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "max_train_samples", "max_eval_samples"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        Additions(**{name: 0})


def test_a_config_file_composes_benchmarks_and_knows_the_inherited_arguments():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PromptDataModule, "data")
    other = {"class_path": f"{__name__}.Additions", "init_args": {"name": "far", "instruction": ""}}
    arguments = {"batch_size": 4, "out_of_domain": [other]}
    config = parser.parse_object({"data": {"class_path": f"{__name__}.Additions", "init_args": arguments}})
    data = parser.instantiate(config).data
    data.setup("fit")
    assert data.eval_names == ["additions", "additions_hard", "far", "far_hard"]
    assert data.batch_size == 4


def test_a_set_out_of_domain_keeps_its_own_rule_for_rows_found_bad_later():
    data = Additions(out_of_domain=[Additions(name="far", on_bad_row="skip")])
    data.setup("validate")
    near, far = data.eval_names[0], data.eval_names[-1]
    with pytest.warns(UserWarning, match="counted as wrong"):
        data.reject_eval_rows(far, {data.eval_sets[far][0].sample_id: "too long"})
    assert len(data.bad_rows[far]) == 1
    with pytest.raises(ValueError, match="cannot be evaluated"):
        data.reject_eval_rows(near, {data.eval_sets[near][0].sample_id: "too long"})
