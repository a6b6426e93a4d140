import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapo.callbacks.completions import CompletionsTable


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    return accumulator.Reload()


def test_every_completion_of_a_fit_is_kept(module, make_trainer, phases, rows, tmp_path):
    make_trainer(CompletionsTable(), val_check_interval=2).fit(module(), phases, rows)

    written = read(tmp_path / "completions.jsonl")
    assert [(row["phase"], row["sample_id"], row["index"]) for row in written] == [
        (phase, f"row-{2 * phase + b}", g) for phase in range(3) for b in range(2) for g in range(2)
    ]
    assert written[1] == {
        "phase": 0,
        "epoch": 0,
        "sample_id": "row-0",
        "index": 1,
        "text": "phase 0 (1)",
        "num_tokens": 4,
        "truncated": True,
        "reward": 0.4,
        "components": {"math_answer": 0.4, "length": None},
        "success": False,
        "accuracy": 0.4,
        "valid": True,
        "advantage": -0.15,
    }
    evaluated = read(tmp_path / "evaluation.jsonl")
    assert len(evaluated) == 5 * (1 + 2)
    assert {(row["stage"], row["set"], row["phase"]) for row in evaluated} == {("val", "grid", 2)}
    assert [row["sample_id"] for row in evaluated if row["mode"] == "greedy"] == [f"row-{i}" for i in range(5)]


def test_a_sanity_check_leaves_no_rows(module, make_trainer, phases, rows, tmp_path):
    make_trainer(
        CompletionsTable(),
        num_sanity_val_steps=1,
        limit_train_batches=1,
        val_check_interval=None,
        check_val_every_n_epoch=2,
    ).fit(module(), phases, rows)
    assert not (tmp_path / "evaluation.jsonl").exists()


def test_test_and_predict_have_their_files(module, make_trainer, rows, tmp_path):
    trainer = make_trainer(CompletionsTable())
    trainer.test(module(), rows, verbose=False)
    trainer.predict(module(), rows)
    assert {row["stage"] for row in read(tmp_path / "evaluation.jsonl")} == {"test"}
    assert {row["stage"] for row in read(tmp_path / "predictions.jsonl")} == {"predict"}


def test_tensorboard_shows_tables_and_pictures(module, make_trainer, phases, rows, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    make_trainer(CompletionsTable(every_n_phases=2, num_groups=1), logger=logger).fit(module(), phases, rows)

    shown = events(Path(logger.log_dir))
    steps = [event.step for event in shown.Tensors("completions/train/text_summary")]
    assert steps == [0, 2]
    assert [event.step for event in shown.Tensors("completions/val/grid/sampled/text_summary")] == [3]
    assert [event.step for event in shown.Images("images/train")] == [0, 2]
    assert shown.Tags()["images"] == ["images/train", "images/val/grid"]  # not once more for every mode
    text = shown.Tensors("completions/train/text_summary")[0].tensor_proto.string_val[0].decode()
    header = (
        "sample | prompt | completion | tokens | math&#95;answer | length | reward | success | advantage | truncated"
    )
    assert text.splitlines()[0] == f"| {header} |"
    assert len(text.splitlines()) == 2 + 2  # one group of two
    assert "How much is 1 + 1?" in text
    assert "row-1" not in text


def test_a_resumed_run_continues_its_file_without_doubles(module, make_trainer, phases, rows, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=4, save_top_k=-1, filename="{step}")
    first = make_trainer(CompletionsTable(), keep, enable_checkpointing=True, val_check_interval=1)
    first.fit(module(), phases, rows)
    whole = (tmp_path / "completions.jsonl").read_text()
    evaluated = (tmp_path / "evaluation.jsonl").read_text()
    assert len(whole.splitlines()) == 12

    checkpoint = tmp_path / "kept" / "step=4.ckpt"  # two optimizer steps per phase: after phase 1
    resumed = make_trainer(CompletionsTable(), val_check_interval=1)
    resumed.fit(module(), phases, rows, ckpt_path=checkpoint)
    assert (tmp_path / "completions.jsonl").read_text() == whole
    phases_evaluated = [row["phase"] for row in read(tmp_path / "evaluation.jsonl")]
    assert sorted(set(phases_evaluated)) == [1, 3]  # the one due at the checkpoint is skipped by Lightning on resume
    assert len(evaluated.splitlines()) == 45
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["completions.jsonl", "evaluation.jsonl"]


def test_a_resumed_run_in_a_new_folder_starts_new(module, make_trainer, phases, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=4, filename="{step}")
    make_trainer(CompletionsTable(), keep, enable_checkpointing=True, logger=CSVLogger(tmp_path)).fit(module(), phases)
    logger = CSVLogger(tmp_path)
    make_trainer(CompletionsTable(), logger=logger).fit(module(), phases, ckpt_path=tmp_path / "kept" / "step=4.ckpt")
    assert {row["phase"] for row in read(Path(logger.log_dir) / "completions.jsonl")} == {2}


def test_validating_a_checkpoint_leaves_the_training_rows_alone(module, make_trainer, phases, rows, tmp_path):
    table = CompletionsTable()
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2, filename="{step}", save_top_k=-1)
    trainer = make_trainer(table, keep, enable_checkpointing=True)
    trainer.fit(module(), phases)
    whole = (tmp_path / "completions.jsonl").read_text()
    trainer.validate(module(), rows, ckpt_path=tmp_path / "kept" / "step=2.ckpt", verbose=False)
    assert (tmp_path / "completions.jsonl").read_text() == whole


def test_another_run_in_the_same_folder_keeps_the_earlier_rows(module, make_trainer, phases, tmp_path):
    make_trainer(CompletionsTable()).fit(module(), phases)
    make_trainer(CompletionsTable(), limit_train_batches=1).fit(module(), phases)
    assert len(read(tmp_path / "completions.1.jsonl")) == 12
    assert len(read(tmp_path / "completions.jsonl")) == 4


def test_the_checkpoint_loads_with_plain_values_only(module, make_trainer, phases, tmp_path):
    trainer = make_trainer(CompletionsTable())
    trainer.fit(module(), phases)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    state = torch.load(tmp_path / "end.ckpt", weights_only=True)["callbacks"]["CompletionsTable"]
    assert state["cursors"]["completions.jsonl"][0] == (tmp_path / "completions.jsonl").stat().st_size


def test_fast_dev_run_leaves_nothing_behind(module, make_trainer, phases, rows, tmp_path):
    make_trainer(CompletionsTable(), fast_dev_run=True).fit(module(), phases, rows)
    assert list(tmp_path.iterdir()) == []


def test_a_logger_without_text_is_named_once(module, make_trainer, phases, rows, tmp_path, caplog):
    logger = CSVLogger(tmp_path)
    with caplog.at_level("INFO"):
        make_trainer(CompletionsTable(), logger=logger).fit(module(), phases, rows)
    lines = [record.message for record in caplog.records if "CompletionsTable" in record.message]
    assert len(lines) == 1
    assert "CSVLogger shows no tables" in lines[0]
    assert (Path(logger.log_dir) / "figures" / "images" / "train.png").exists()


def test_jsonl_can_be_left_out(module, make_trainer, phases, tmp_path):
    make_trainer(CompletionsTable(jsonl=False)).fit(module(), phases)
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("name", ["every_n_phases", "num_groups", "max_characters"])
def test_a_count_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        CompletionsTable(**{name: 0})
