"""What the documents say holds: their tables are computed, their components run, their metrics are those logged."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from documents import ROOT, blocks, run_command, write_files

from mapo.advantages.mixed import mixed_advantages
from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.z_score import z_score
from mapo.functional.certainty import certainty, success_rate

DOCS = ROOT / "docs"
LIGHTNINGS_OWN = {"epoch", "hp_metric"}
FIT = ["python", "-m", "mapo", "fit", "--config", "configs/mapo_tiny.yaml"]


def table_rows(page: str, *, section: str | None = None) -> list[list[str]]:
    """Return the cells of a page's tables, without their heads."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if section is not None:
        text = text.partition(f"## {section}")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, line in enumerate(lines) if line.startswith("|---")]
    heads = {i - 1 for i in rules} | set(rules)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for i, line in enumerate(lines) if i not in heads
    ]


# -- algorithm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", table_rows("algorithm.md", section="Worked examples"), ids=lambda row: row[0])
def test_worked_example_is_what_the_code_computes(row: list[str]) -> None:
    rewards = torch.tensor([[float(number) for number in row[0].split(",")]])
    success = rewards == 1
    rate = success_rate(success)
    for shown, value in ((row[1], rate), (row[2], certainty(rate))):
        assert float(shown) == pytest.approx(float(value), abs=6e-4)
    families = (z_score(rewards), percent_deviation(rewards), mixed_advantages(rewards, success))
    for shown, advantages in zip(row[3:], families, strict=True):
        lowest, highest = (float(number) for number in shown.split("/"))
        assert [lowest, highest] == pytest.approx(
            [float(advantages.min()), float(advantages.max())], abs=6e-4, rel=2e-4
        )


def test_every_method_has_its_line_and_its_yaml() -> None:
    listed = [row[0].strip("`") for row in table_rows("algorithm.md", section="Methods")]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "configs" / "algorithm").glob("*.yaml"))


# -- from laptop to cluster --------------------------------------------------------------------------------------------

PLANNED = [words for block in blocks(DOCS / "cluster.md", "bash") for words in block.commands if words[0] == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("command", PLANNED, ids=" ".join)
def test_command_for_gpus_is_accepted_and_planned(
    command: list[str], in_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    run_command([word for word in command if word not in ("--ckpt_path", "last")], runs_here=False)
    assert "Fits on GPUs of" in capsys.readouterr().out


@pytest.mark.slow
def test_table_of_memory_is_what_the_benchmark_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import memory_table

    assert memory_table.table() in (DOCS / "cluster.md").read_text(encoding="utf-8")


# -- own components ----------------------------------------------------------------------------------------------------


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # seeding writes it; it is put back afterwards
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [words for block in blocks(DOCS / "components.md", "bash") for words in block.commands],
    ids=lambda c: c[-1],
)
def test_own_component_trains_through_yaml_alone(command: list[str], in_folder: Path) -> None:
    write_files(DOCS / "components.md", in_folder)
    run_command(command)
    assert list(in_folder.glob("runs/*/version_0/checkpoints/last.ckpt"))


def test_every_python_block_is_one_that_runs() -> None:
    for page in DOCS.glob("*.md"):
        unnamed = [b.code for b in blocks(page, "python") if not re.match(r"# \S+\.py\n", b.code)]
        assert not unnamed, page
        assert page.name == "components.md" or not blocks(page, "python"), page


# -- metrics -----------------------------------------------------------------------------------------------------------


def logged(folder: Path) -> set[str]:
    """Return the names of all scalars of a run, with its sets and components replaced by what the page calls them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names: set[str] = set()
    for file in folder.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        names |= set(events.Tags()["scalars"])
    return {generic(name) for name in names - LIGHTNINGS_OWN}


def generic(name: str) -> str:
    name = re.sub(r"^val/[^/]+/", "val/<set>/", name).replace("_greedy", "")
    for own, called in (
        (r"^train/reward/.+", "train/reward/<component>"),
        (r"^train/trained_groups/.+", "train/trained_groups/<name>"),
        (r"^train/(clip_fraction|kl)/.+", r"train/\1/<bin>"),
        (r"^certainty/successes/\d+$", "certainty/successes/<N>"),
        (r"^certainty/advantage_sum/(none|few|half|most|all)$", "certainty/advantage_sum/<bin>"),
        (r"^certainty/advantage_sum/[^<]+$", "certainty/advantage_sum/<branch>"),
        (r"^time/(rollout|reward|update|other)_share$", "time/<part>_share"),
        (r"^throughput/(rollout|update|phase)_(tflops|mfu)$", r"throughput/<part>_\2"),
        (r"/think_format$", "/<component>"),
        (r"/solved$", "/<figure>"),
        (r"/accuracy/[^/]+/.+", "/accuracy/<category>/<value>"),
        (r"/pass@\d+$", "/pass@<k>"),
        (r"/maj@\d+$", "/maj@<n>"),
    ):
        name = re.sub(own, called, name)
    return name


def documented(*sections: str) -> set[str]:
    return {row[0].strip("`") for section in sections for row in table_rows("metrics.md", section=section)}


# A benchmark that has every kind of figure: categories, a bad row, one of its own; a device with a peak, and a profile.
EVERYTHING = """
model:
  rewards: [{class_path: own_benchmark.Boxed, init_args: {weight: 0.9}}, {class_path: ThinkFormat}]
  kl_coef: 0.01
  log_entropy: true
  sampler_correction: {level: token}
  updates_per_phase: 2
  evaluation: {num_samples: 2}
data: {class_path: own_benchmark.Rectangles, init_args: {on_bad_row: skip}}
throughput: {peak_tflops: 0.1, profile_phase: 1}
"""


@pytest.mark.slow
def test_metrics_page_names_exactly_what_a_run_logs(in_folder: Path) -> None:
    (in_folder / "everything.yaml").write_text(EVERYTHING, encoding="utf-8")
    run_command([*FIT, "--config", "everything.yaml"])
    run_command([*FIT, "--config", "everything.yaml", "--model.kl_coef", "0", "--model.log_entropy", "false"])
    folder = in_folder / "runs" / "mapo_tiny" / "version_0"
    always = documented(
        "Training, once per phase", "Evaluation, once per validation and set", "Certainty, once per phase"
    )
    now_and_then = documented("Certainty, where it can be told")
    assert always <= logged(folder.parent) <= always | now_and_then
    files = [row[0].strip("`") for row in table_rows("metrics.md", section="The folder of a run")]
    assert all(list(folder.glob(file.rstrip("/").replace("<n>", "1"))) for file in files), files
    assert len(files) == len(list(folder.iterdir())) - 1  # one events file before training, one in it
    assert keys("results.json") == set(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    with (folder / "evaluation.jsonl").open(encoding="utf-8") as rows:
        assert keys("evaluation.jsonl") == set(json.loads(rows.readline()))


def keys(section: str) -> set[str]:
    """Return the names in the first column of a section's table."""
    return {name.strip("` ") for row in table_rows("metrics.md", section=section) for name in row[0].split(",")}


def test_ways_to_evaluate_a_set_are_configuration(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(DOCS / "metrics.md", "yaml")
    (in_folder / "sets.yaml").write_text(block.code, encoding="utf-8")
    run_command([*FIT, "--config", "sets.yaml", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)["model"]["evaluation"]["sets"]
    written = yaml.safe_load(block.code)["model"]["evaluation"]["sets"]
    for name, draws in written.items():
        assert printed[name].items() >= {key: value for key, value in draws.items() if key != "sampling"}.items()
    assert printed["mathverse_*"]["sampling"]["top_p"] == 0.95


def test_diagnostics_are_set_on_the_command_line(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [words for block in blocks(DOCS / "diagnostics.md", "bash") for words in block.commands]
    run_command([*command, "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["certainty"] == {"figures": False, "max_prompts": 1000}


@pytest.mark.slow
def test_metrics_page_names_exactly_what_supervised_training_logs(in_folder: Path) -> None:
    run_command(["python", "-m", "mapo", "supervised", "fit", "--config", "configs/warm_start_tiny.yaml"])
    assert documented("Supervised training") == logged(in_folder / "runs" / "warm_start_tiny" / "version_0")


def test_every_metric_has_a_unit_and_a_meaning() -> None:
    rows = [
        row
        for row in table_rows("metrics.md")
        if row[0].startswith(("`train", "`val", "`time", "`throughput", "`memory", "`certainty"))
    ]
    assert rows
    assert all(len(row) == 3 and all(row) for row in rows)


# -- the site ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_site_builds_strictly(tmp_path: Path) -> None:
    commands = pytest.importorskip("mkdocs.commands.build", reason="needs the docs extra")
    pytest.importorskip("mkdocstrings", reason="needs the docs extra")
    from mkdocs.config import load_config

    commands.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    page = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "MAPOModule" in page
    assert "&gt;&gt;&gt;" in page  # doctests as code
