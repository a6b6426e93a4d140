"""The advantage of a paper published tomorrow: what one page says, in one file and one YAML, and all else is there."""

import json
import sys
from pathlib import Path

import pytest
import torch
from command_line import SHORT, invoke
from documents import write_files

PAGE = Path(__file__).parents[1] / "docs" / "components.md"
RUN = Path("runs/mapo_tiny/version_0")
# What a run logs of any advantage, in every phase; a metric that is meant to follow new advantages goes here.
METRICS = {
    "train/advantage_magnitude",
    "train/active_group_share",
    "train/certainty",
    "train/policy_loss",
    "train/trained_groups/importance_ratio",
    "train/trained_groups/clip_fraction_high",
    "train/gradient_norm",
    "certainty/silent_share",
    "certainty/max_advantage",
    "certainty/unsolved_advantage_share",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's files and a run of its batch-wide advantage, and what the command said."""
    folder = tmp_path_factory.mktemp("tomorrow")
    write_files(PAGE, folder)
    outcome = invoke(
        folder, "fit", "--config", "configs/mapo_tiny.yaml", "--config", "from_the_batch.yaml", *SHORT,
        "--model.group_size=6", "--validate_before_fit=false",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    yield folder
    sys.modules.pop("my_batch_advantages", None)


@pytest.mark.slow
def test_the_policy_is_trained_with_what_the_formula_says(folder):
    lines = (folder / RUN / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["phase"] for row in rows} == {0, 1}
    for phase in (0, 1):
        rewards, advantages = (
            torch.tensor([row[name] for row in rows if row["phase"] == phase]).reshape(2, 6)
            for name in ("reward", "advantage")
        )
        # (r - μ) / m by hand, m being the mean of all twelve rewards of the phase.
        expected = (rewards - rewards.mean(dim=1, keepdim=True)) / rewards.mean()
        torch.testing.assert_close(advantages, expected, rtol=1e-4, atol=1e-5)
        assert advantages.any()


@pytest.mark.slow
def test_its_metrics_are_logged(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = {}
    for file in (folder / RUN).glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        steps |= {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert {name: steps.get(name) for name in METRICS} == {name: [0, 1] for name in METRICS}


@pytest.mark.slow
def test_its_checkpoint_brings_it_back(folder):
    from mapo.modules.mapo import MAPOModule

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        module = MAPOModule.load_from_checkpoint(folder / RUN / "checkpoints" / "last.ckpt", weights_only=True)
    assert (type(module.advantage).__name__, module.advantage.scale) == ("FromTheBatch", 1.0)


@pytest.mark.slow
def test_its_runs_are_compared_under_its_name(folder):
    outcome = invoke(folder, "compare", "runs/mapo_tiny")
    assert outcome.code == 0, outcome.err
    assert "FromTheBatch" in outcome.out
    assert "FromTheBatch" in (folder / "comparison" / "report.md").read_text(encoding="utf-8")
