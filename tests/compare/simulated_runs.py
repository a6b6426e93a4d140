"""Runs with known accuracies, as folders that a real run would leave and as matrices."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Matrix = np.ndarray


def answers(rng: np.random.Generator, chances: Matrix) -> Matrix:
    """Return right (1) and wrong (0) answers that come with these probabilities."""
    return (rng.random(chances.shape) < chances).astype(float)


def chances(rng: np.random.Generator, accuracy: float, difficulty: Matrix, *, seeds: int, spread: float) -> Matrix:
    """Return probabilities [S, Q] whose mean over all seeds and questions there could be is ``accuracy``.

    Args:
        rng: Draws the runs.
        accuracy: The truth, far enough from 0 and 1.
        difficulty: Of the questions, around 0.
        seeds: S.
        spread: Standard deviation of a run's own accuracy.
    """
    return accuracy + difficulty + rng.normal(0, spread, (seeds, 1))


def write_run(
    folder: Path,
    phases: Mapping[int, Mapping[str, Matrix]],
    *,
    seed: int = 0,
    model: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
    right: str = "1",
) -> Path:
    """Write what ``mapo fit`` would leave of a run with these accuracies [Q] by phase and set."""
    folder.mkdir(parents=True)
    evaluation = {"num_samples": 1, "greedy": False, "sampling": {"temperature": 1.0}, "sets": {}}
    settings = {"advantage": {"class_path": "mapo.advantages.z_score.ZScore"}, "group_size": 12, "seed": None}
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 1, "limit_train_batches": 30},
        "model": {**settings, "evaluation": evaluation, **(model or {})},
        "data": {"class_path": "mapo.data.grid_rectangles.GridRectangles", "init_args": {"batch_size": 8}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    last = max(phases)
    found = {
        "stage": "fit",
        "finished": True,
        "sets": {
            name: {"accuracy": {"after": float(values.mean()), "after_phase": last, "before": None}}
            for name, values in phases[last].items()
        },
        "out_of_domain": [name for name in phases[last] if name.startswith("out")],
        "bad_rows": {},
        "phases": 30,
        "tokens_sampled": 40_000,
        "seed": seed,
    }
    (folder / "results.json").write_text(json.dumps(found | dict(results or {})))
    with (folder / "evaluation.jsonl").open("w") as file:
        for phase, sets in phases.items():
            for name, values in sets.items():
                for place, value in enumerate(values):
                    row = {"stage": "val", "set": name, "mode": "sampled", "phase": phase, "index": 0, "answer": right}
                    file.write(json.dumps(row | {"sample_id": f"{name}/{place}", "accuracy": value}) + "\n")
    return folder
