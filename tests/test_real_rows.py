"""The main job on real benchmark rows: the built-in model cannot learn them, but it must run, count and say so."""

import json
import os
from pathlib import Path

import pytest
import yaml

from mapo.__main__ import main

ROWS = os.environ.get("MAPO_BENCHMARK_DATA")
CONFIG = Path(__file__).parents[1] / "configs" / "mapo_tiny.yaml"
pytestmark = [
    pytest.mark.benchmark_rows,
    pytest.mark.slow,
    pytest.mark.skipif(ROWS is None, reason="MAPO_BENCHMARK_DATA names no folder of benchmark rows"),
]


def fit(folder: Path, data: dict, **limits) -> tuple[dict, list[dict], Path]:
    trainer = {"callbacks": None, "logger": {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(folder)}}}
    short = {"max_completion_tokens": 24}
    model = {"group_size": 4, "sampling": short, "evaluation": {"sampling": short}}
    config = folder / "rows.yaml"
    config.write_text(yaml.safe_dump({"trainer": trainer | limits, "model": model, "data": data}))
    main(["fit", "--config", str(CONFIG), "--config", str(config)])
    (results,) = folder.rglob("results.json")
    (log,) = folder.rglob("completions.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return json.loads(results.read_text()), rows, folder


def check_sane(results: dict, rows: list[dict], folder: Path, *, phases: int, prompts: int) -> None:
    assert results["phases"] == phases
    assert len(rows) == phases * prompts * 4
    assert list(folder.rglob("*.ckpt"))
    assert all(0 <= row["reward"] <= 1 and row["valid"] for row in rows)
    assert all(0 < row["num_tokens"] <= 24 for row in rows)
    assert all(row["num_tokens"] == 24 for row in rows if row["truncated"])


def official_layout(folder: Path) -> Path:
    return Path(ROWS) / "geometry3k"


def hub_schema(folder: Path) -> Path:
    """The same problems in the columns of hiyouga/geometry3k, as a folder of parquet files."""
    from datasets import Dataset, Features, Image, List, Value

    rows = []
    for problem in sorted((Path(ROWS) / "geometry3k" / "train").iterdir()):
        fields = json.loads((problem / "data.json").read_text())
        answer = fields["choices"]["ABCD".index(fields["answer"])]
        picture = (problem / "img_diagram.png").read_bytes()
        images = [{"bytes": picture, "path": None}]
        rows.append({"images": images, "problem": f"<image>{fields['problem_text']}", "answer": answer})
    features = Features({"images": List(Image()), "problem": Value("string"), "answer": Value("string")})
    (folder / "data").mkdir()
    Dataset.from_list(rows, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("layout", [official_layout, hub_schema])
def test_geometry3k_with_its_diagrams(tmp_path, tmp_path_factory, layout):
    path = layout(tmp_path_factory.mktemp("rows"))
    data = {"class_path": "Geometry3K", "init_args": {"path": str(path), "eval_splits": ["train"], "batch_size": 3}}
    results, rows, folder = fit(tmp_path, data, max_epochs=2, limit_train_batches=2, val_check_interval=2)
    check_sane(results, rows, folder, phases=4, prompts=3)
    assert results["sets"]["geometry3k_train"]["num_samples_evaluated"]["after"] == 6
    assert len({row["sample_id"] for row in rows}) == 6


def test_gsm8k(tmp_path):
    settings = {"batch_size": 4, "max_train_samples": 12, "max_eval_samples": 8}
    data = {"class_path": "GSM8K", "init_args": {"path": str(Path(ROWS) / "gsm8k"), **settings}}
    results, rows, folder = fit(tmp_path, data, max_epochs=1, limit_train_batches=3, val_check_interval=3)
    check_sane(results, rows, folder, phases=3, prompts=4)
    assert results["sets"]["gsm8k_test"]["num_samples_evaluated"]["after"] == 8
