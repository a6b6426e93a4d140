import json

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from mapo.callbacks.summary import ClosingSummary
from mapo.data.base import PromptDataModule
from mapo.types import Prompt


def results(folder, name="results.json"):
    return json.loads((folder / name).read_text())


def make_prompt(sample_id: str, answer: str = "2") -> Prompt:
    return Prompt(sample_id, ({"role": "user", "content": "How much is 1 + 1?"},), (), answer, {})


def summary(output: str) -> list[str]:
    return output[output.index("Closing summary of fit") :].splitlines()


def test_a_validation_ahead_of_the_fit_is_the_before(module, make_trainer, phases, rows, tmp_path, capsys):
    trainer, two_sets = make_trainer(ClosingSummary(), max_epochs=2), module(("grid", "bars-ood"))
    trainer.validate(two_sets, [rows, rows], verbose=False)
    trainer.fit(two_sets, phases, [rows, rows])

    assert summary(capsys.readouterr().out)[1:5] == [
        "set      | sampled before -> after | greedy before -> after |  phase | rows",
        "---------+-------------------------+------------------------+--------+-----",
        "grid     |       40.0 % -> 100.0 % |      50.0 % -> 110.0 % | 0 -> 6 |    5",
        "bars-ood |       40.0 % -> 100.0 % |      50.0 % -> 110.0 % | 0 -> 6 |    5",
    ]
    written = results(tmp_path)
    assert (written["stage"], written["finished"], written["phases"]) == ("fit", True, 6)
    assert written["sets"]["bars-ood"]["accuracy"] == {
        "before": pytest.approx(0.4),
        "after": pytest.approx(1.0),
        "before_phase": 0,
        "after_phase": 6,
    }
    assert written["tokens_sampled"] == 6 * 2 * (3 + 4)  # phases x prompts x a group of 3 and 4 tokens
    assert "not comparable to judge-based MathVista and MathVerse leaderboards" in written["rule"]
    assert {"python", "torch", "lightning"} <= written["versions"].keys()


def test_without_it_the_first_validation_of_the_fit_is_the_before(module, make_trainer, phases, rows, capsys):
    make_trainer(ClosingSummary(), val_check_interval=1, num_sanity_val_steps=1).fit(module(), phases, rows)
    grid = summary(capsys.readouterr().out)[3]
    assert grid == "grid |        50.0 % -> 70.0 % |       60.0 % -> 80.0 % | 1 -> 3 |    5"


def test_a_single_validation_has_no_before(module, make_trainer, phases, rows, tmp_path, capsys):
    make_trainer(ClosingSummary()).fit(module(), phases, rows)
    assert summary(capsys.readouterr().out)[3].startswith("grid |             - -> 70.0 %")
    assert results(tmp_path)["sets"]["grid"]["accuracy"]["before"] is None


def test_a_fit_without_validation_says_so(module, make_trainer, phases, tmp_path, capsys):
    make_trainer(ClosingSummary()).fit(module(), phases)
    lines = summary(capsys.readouterr().out)
    assert lines[1] == "No validation ran in this fit, so there is nothing to compare."
    assert lines[2].startswith("3 phases in ")
    assert lines[2].endswith(" s, 42 tokens sampled")
    assert results(tmp_path)["sets"] == {}


def test_a_sanity_check_is_no_validation(module, make_trainer, phases, rows, capsys):
    trainer = make_trainer(ClosingSummary(), num_sanity_val_steps=1, check_val_every_n_epoch=2)
    trainer.fit(module(), phases, rows)
    assert "No validation ran" in capsys.readouterr().out


def test_a_resumed_run_keeps_its_before(module, make_trainer, phases, rows, tmp_path, capsys):
    first = make_trainer(ClosingSummary())
    first.validate(module(), rows, verbose=False)
    first.fit(module(), phases, rows)
    first.save_checkpoint(tmp_path / "end.ckpt")
    spent = results(tmp_path)["seconds"]
    capsys.readouterr()

    resumed = make_trainer(ClosingSummary(), max_epochs=2)
    resumed.fit(module(), phases, rows, ckpt_path=tmp_path / "end.ckpt")
    assert summary(capsys.readouterr().out)[3].split(" | ")[1].strip() == "40.0 % -> 100.0 %"
    written = results(tmp_path)
    assert written["tokens_sampled"] == 6 * 2 * (3 + 4)
    assert written["seconds"] >= spent


def test_evaluations_have_a_summary_of_their_own(module, make_trainer, rows, tmp_path, capsys):
    trainer = make_trainer(ClosingSummary())
    for stage in ("validate", "test"):
        getattr(trainer, stage)(module(), rows, verbose=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[1:6] == [
            f"Summary of {stage}",
            "set  | answers   | rows | accuracy (95 %)",
            "-----+-----------+------+----------------",
            "grid | 1 sampled |    5 |          40.0 %",
            "grid | greedy    |    - |          50.0 %",
        ]
        written = results(tmp_path)
        assert written["stage"] == stage
        assert written["sets"]["grid"]["accuracy"]["after"] == pytest.approx(0.4)


class Odd(PromptDataModule):
    """Two sets, one out of domain with four rows that cannot be used."""

    def train_prompts(self):
        return [make_prompt(f"row-{i}") for i in range(6)]

    def eval_prompts(self):
        bad = [make_prompt(f"bad-{i}", answer="") for i in range(4)]
        return {"grid": self.train_prompts()[:5], "bars-ood": [*self.train_prompts()[:2], *bad]}

    @property
    def out_of_domain_names(self):
        return ["bars-ood"]


@pytest.fixture
def odd() -> Odd:
    return Odd(batch_size=2, on_bad_row="skip")


@pytest.mark.filterwarnings("ignore:.*rows are")
def test_bad_rows_and_the_summary_of_all_sets_are_reported(module, make_trainer, odd, tmp_path, capsys):
    trainer, two_sets = make_trainer(ClosingSummary(), max_epochs=1), module(("grid", "bars-ood"), summed_up=True)
    trainer.validate(two_sets, odd, verbose=False)
    said = capsys.readouterr().out
    named = "; ".join(f"'bad-{i}': the answer is empty or no text ('')" for i in range(3))
    assert f"\nbars-ood: 4 bad rows count as wrong: {named}; ...\n" in said
    assert "\nA, mean of both |  20.0 %\n" in said
    validated = results(tmp_path)
    assert list(validated["bad_rows"]["bars-ood"]) == [f"bad-{i}" for i in range(4)]
    assert validated["summary"]["A"]["accuracy"]["after"] == pytest.approx(0.2)

    trainer.fit(two_sets, odd)
    lines = summary(capsys.readouterr().out)
    assert lines[5] == "A, mean of both |        20.0 % -> 35.0 % |                      - | 0 -> 3 |    -"
    assert lines[6].startswith("bars-ood: 4 bad rows count as wrong")
    assert results(tmp_path)["summary"]["A"]["accuracy"]["before"] == pytest.approx(0.2)
    assert len(results(tmp_path)["bad_rows"]["bars-ood"]) == 4

    trainer.save_checkpoint(tmp_path / "end.ckpt")
    make_trainer(ClosingSummary(), max_epochs=2).fit(two_sets, odd, ckpt_path=tmp_path / "end.ckpt")
    assert results(tmp_path)["summary"]["A"]["accuracy"]["before"] == pytest.approx(0.2)


def test_an_evaluation_does_not_replace_the_results_of_a_fit(module, make_trainer, phases, rows, tmp_path):
    trainer = make_trainer(ClosingSummary())
    trainer.fit(module(), phases, rows)
    trainer.validate(module(), rows, verbose=False)
    assert results(tmp_path)["stage"] == "fit"
    assert results(tmp_path, "results_validate.json")["stage"] == "validate"


def test_validating_a_checkpoint_names_it_and_forgets_nothing(module, make_trainer, phases, rows, tmp_path, capsys):
    trainer = make_trainer(ClosingSummary())
    trainer.fit(module(), phases, rows)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    another = make_trainer(ClosingSummary())
    another.validate(module(), rows, ckpt_path=tmp_path / "end.ckpt", verbose=False)
    assert results(tmp_path, "results_validate.json")["checkpoint"] == str(tmp_path / "end.ckpt")
    assert another.callbacks[0].state_dict()["tokens"] == 0


def test_the_places_of_logs_and_checkpoint_are_named(module, make_trainer, phases, rows, tmp_path, capsys):
    logger = TensorBoardLogger(tmp_path)
    best = ModelCheckpoint(monitor="val/grid/accuracy", mode="max", filename="best")
    make_trainer(ClosingSummary(), best, logger=logger, enable_checkpointing=True).fit(module(), phases, rows)
    assert summary(capsys.readouterr().out)[-3:] == [
        f"checkpoint (best val/grid/accuracy)  {logger.log_dir}/checkpoints/best.ckpt",
        f"logs                                 {logger.log_dir}",
        f"results                              {logger.log_dir}/results.json",
    ]


def test_an_interrupted_fit_says_so_in_one_line(module, make_trainer, phases, rows, tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_trainer(ClosingSummary(), val_check_interval=1).fit(module(stop_in_phase=2), phases, rows)
    assert capsys.readouterr().out.splitlines() == [
        "fit was broken off after 2 phases (KeyboardInterrupt), no closing summary; "
        f"its figures so far are in {tmp_path}/results.json"
    ]
    written = results(tmp_path)
    assert not written["finished"]
    assert written["sets"]["grid"]["accuracy"]["after_phase"] == 2


def test_an_error_is_not_hidden_by_results_that_cannot_be_written(module, make_trainer, phases, tmp_path, capsys):
    (tmp_path / "results.json.tmp").mkdir()
    with pytest.raises(SystemExit):
        make_trainer(ClosingSummary()).fit(module(stop_in_phase=1), phases)
    assert "its figures could not be written" in capsys.readouterr().out


def test_an_error_before_training_is_left_to_speak_for_itself(module, make_trainer, capsys):
    with pytest.raises(Exception, match="train_dataloader"):
        make_trainer(ClosingSummary()).fit(module())
    assert capsys.readouterr().out == ""


def test_a_module_that_does_not_sample_reports_its_loss(make_trainer, module, phases, rows, tmp_path, capsys):
    class Supervised(module):
        def __init__(self):
            super().__init__()
            del self.last_phase, self.last_evaluation

        def training_step(self, prompts, batch_idx):
            self.optimizers().step()

        def validation_step(self, prompts, batch_idx): ...

        def on_validation_epoch_end(self):
            self.log("val/grid/loss", 1.5)

    make_trainer(ClosingSummary()).fit(Supervised(), phases, rows)
    lines = summary(capsys.readouterr().out)
    assert lines[1:4] == [
        "set  | loss before -> after |   step | rows",
        "-----+----------------------+--------+-----",
        "grid |           - -> 1.500 | - -> 3 |    -",
    ]
    assert lines[4].startswith("3 steps in ")
    assert "tokens" not in lines[4]
    assert results(tmp_path)["rule"] is None


def test_fast_dev_run_prints_and_leaves_nothing_behind(module, make_trainer, phases, rows, tmp_path, capsys):
    make_trainer(ClosingSummary(), fast_dev_run=True).fit(module(), phases, rows)
    assert "Closing summary of fit" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
