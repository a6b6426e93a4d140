"""A validation through the command line: its report equals a count of its own completions, made here by hand."""

import itertools
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml
from command_line import invoke

CONFIG = {
    "data": {
        "class_path": "own_benchmark.Rectangles",
        "init_args": {
            "on_bad_row": "skip",
            "out_of_domain": [{"class_path": "PlaneFigures", "init_args": {"num_eval": 3}}],
        },
    },
    "model": {
        "rewards": [
            {"class_path": "own_benchmark.Boxed", "init_args": {"weight": 0.9}},
            {"class_path": "ThinkFormat", "init_args": {"weight": 0.1}},
        ],
        "evaluation": {
            "greedy": True,
            "num_samples": 3,
            "sampling": {"temperature": 1.0, "max_completion_tokens": 24},
            "sets": {
                "grid_rectangles_hard": {"greedy": False, "num_samples": 1},
                "plane_*": {"num_samples": 4, "sampling": {"temperature": 1.2, "max_completion_tokens": 20}},
            },
        },
    },
}
NUMS = {"grid_rectangles_hard": 1, "plane_figures": 4, "plane_figures_out_of_domain": 4, "plane_figures_hard": 4}


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> tuple[dict, list[dict], str, Path]:
    """The results, the rows of the JSONL file, the terminal, and the run's folder."""
    folder = tmp_path_factory.mktemp("validated")
    (folder / "own.yaml").write_text(yaml.safe_dump(CONFIG))
    options = ["--data.num_train=8", "--data.num_eval=5", "--data.batch_size=2", "--data.eval_batch_size=4"]
    outcome = invoke(folder, "validate", "--config", "configs/mapo_tiny.yaml", "--config", "own.yaml", *options)
    assert outcome.code == 0, outcome.err
    run = folder / "runs" / "mapo_tiny" / "version_0"
    rows = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    return json.loads((run / "results.json").read_text()), rows, outcome.out, run


def count(rows: list[dict], bad: int) -> dict[str, float]:
    """Return the figures of one set in one mode, from its completions and the number of its bad rows alone."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["sample_id"]].append(row)
    right = {name: [row["verdict"] == "right" for row in group] for name, group in groups.items()}
    num, total = len(rows) // len(groups), len(groups) + bad
    means = [sum(values) / num for values in right.values()] + [0.0] * bad
    figures = {"accuracy": sum(means) / total, "num_samples_evaluated": total} | ({"num_bad_rows": bad} if bad else {})
    figures["accuracy_low"], figures["accuracy_high"] = interval(means, num)
    for k in {1, 2, 4, num} if num > 1 else ():
        if k <= num:
            draws = [[any(draw) for draw in itertools.combinations(values, k)] for values in right.values()]
            figures[f"pass@{k}"] = sum(sum(draw) / len(draw) for draw in draws) / total
    if num > 1:
        figures[f"maj@{num}"] = sum(vote(group) for group in groups.values()) / total
    figures |= {
        "truncated_share": share(row["truncated"] for row in rows),
        "completion_length": share(row["num_tokens"] for row in rows),
        "failed_verdict_share": share(row["verdict"] == "failed" for row in rows),
        "success_rate": share(row["success"] for row in rows),
        "think_format": share(row["components"]["think_format"] for row in rows),
    }
    for category, value in {(c, v) for row in rows for c, values in row["categories"].items() for v in values}:
        own = [row["verdict"] == "right" for row in rows if value in row["categories"][category]]
        figures[f"accuracy/{category}/{value}"] = share(own)
        figures[f"num_samples/{category}/{value}"] = len(own) / num
    return figures


def share(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def vote(group: list[dict]) -> float:
    votes = Counter(row["extracted_answer"] for row in group if row["extracted_answer"] is not None)
    winners = [answer for answer, count in votes.items() if count == max(votes.values())]
    right = {row["extracted_answer"] for row in group if row["verdict"] == "right"}
    return sum(answer in right for answer in winners) / len(winners) if winners else 0.0


def interval(means: list[float], num: int) -> tuple[float, float]:
    total, p, z = len(means), share(means), 1.959963984540054
    variance = sum((mean - p) ** 2 for mean in means) / total**2
    n = min(p * (1 - p) / variance, total * num) if variance else total
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def reported(results: dict, set_name: str, mode: str) -> dict[str, float]:
    """Return the figures of one mode of a set without its suffix, sizes of categories with each."""
    found = {name: figure["after"] for name, figure in results["sets"][set_name].items()}
    own = {name: value for name, value in found.items() if ("_greedy" in name) == (mode == "greedy")}
    return {name.replace("_greedy", ""): value for name, value in own.items()}


@pytest.mark.slow
def test_every_figure_of_every_set_is_a_count_of_its_completions(validated):
    results, rows, _, _ = validated
    assert len(results["sets"]) == 6
    for set_name in results["sets"]:
        for mode in ("sampled", "greedy"):
            own = [row for row in rows if (row["set"], row["mode"]) == (set_name, mode)]
            assert bool(own) == ((set_name, mode) != ("grid_rectangles_hard", "greedy"))
            if own:
                bad = int(set_name == "grid_rectangles")
                assert max(row["index"] for row in own) + 1 == (NUMS.get(set_name, 3) if mode == "sampled" else 1)
                counted = count(own, bad)
                found = reported(results, set_name, mode)
                solved = found.pop("solved", None)
                if mode == "greedy":  # sizes of categories have no mode
                    counted = {name: value for name, value in counted.items() if not name.startswith("num_samples/")}
                assert found == pytest.approx(counted, rel=1e-12)
                if not set_name.startswith("plane"):
                    groups = itertools.groupby(own, key=lambda row: row["sample_id"])
                    assert solved == sum(all(row["verdict"] == "right" for row in group) for _, group in groups)


@pytest.mark.slow
def test_the_summary_is_the_mean_of_the_sets_that_were_answered_in_the_same_way(validated):
    results, _, _, _ = validated
    accuracies = {name: found["accuracy"]["after"] for name, found in results["sets"].items()}
    inside = accuracies.pop("grid_rectangles")
    outside = share(accuracies.values())
    assert {name: found["accuracy"]["after"] for name, found in results["summary"].items()} == pytest.approx(
        {"A_S": inside, "A_T": outside, "A": (inside + outside) / 2}
    )
    assert not any("accuracy_greedy" in found for found in results["summary"].values())  # one set has none


@pytest.mark.slow
def test_the_terminal_shows_what_the_file_holds(validated):
    results, _, out, _ = validated
    lines = out[out.index("Summary of validate") :].splitlines()
    assert max(map(len, lines[: lines.index(results["rule"]) - 1])) <= 120
    shown = [[cell.strip() for cell in line.split("|")] for line in lines]
    grid = next(line for line in shown if line[:2] == ["grid_rectangles", "3 sampled"])
    found = results["sets"]["grid_rectangles"]
    assert grid[2:4] == ["5", "1"]
    accuracy, low, high = (100 * found[f"accuracy{end}"]["after"] for end in ("", "_low", "_high"))
    assert grid[4] == f"{accuracy:.1f} % ({low:.1f}-{high:.1f})"
    assert grid[5:7] == [f"{100 * found[name]['after']:.1f} %" for name in ("pass@3", "maj@3")]
    assert [line[1:] for line in shown if line[0] == "A, mean of both"] == [
        [f"{100 * results['summary']['A']['accuracy']['after']:.1f} %"]
    ]
    assert any(line[:3] == ["grid_rectangles", "kind", "perimeter"] for line in shown)
    assert any(line[:2] == ["grid_rectangles", "solved"] for line in shown)
    (bad,) = [line for line in lines if line.startswith("grid_rectangles: 1 bad row counts as wrong: 'grid_rect")]
    assert "the answer is empty" in bad
    assert list(results["bad_rows"]) == ["grid_rectangles"]


@pytest.mark.slow
def test_tensorboard_has_every_figure_but_the_sizes_of_categories(validated):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results, _, _, run = validated
    (file,) = run.glob("events.out.tfevents.*")
    scalars = set(EventAccumulator(str(file)).Reload().Tags()["scalars"]) - {"epoch", "hp_metric"}
    of_sets = {f"val/{name}/{metric}" for name, found in results["sets"].items() for metric in found}
    assert {name for name in of_sets if "/num_samples/" in name}
    assert scalars == {name for name in of_sets if "/num_samples/" not in name} | {"val/A_S", "val/A_T", "val/A"}
