"""The diagnostics in fits of a tiny policy whose rewards are written down."""

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapo.advantages.base import Advantage
from mapo.advantages.certainty import Random
from mapo.advantages.mixed import MixedAdvantage
from mapo.advantages.z_score import ZScore
from mapo.callbacks import certainty
from mapo.callbacks.certainty import CertaintyDiagnostics
from mapo.callbacks.certainty_map import advantage_map
from mapo.callbacks.completions import CompletionsTable
from mapo.data.base import PromptDataModule
from mapo.data.loader import PhaseLoader
from mapo.modules.dynamic_sampling import DynamicSampling
from mapo.modules.evaluation import Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.types import Sampling

pytestmark = pytest.mark.filterwarnings("ignore:MixedAdvantage with group_size")
SHORT = Sampling(max_completion_tokens=4)
PHASES = 3
FIGURES = ["certainty/advantage_map", "certainty/migration", "certainty/success_histogram"]


class Rows(PromptDataModule):
    def train_prompts(self):
        return [self.prompt(f"row-{i}", f"{i}+{i}=", str(2 * i), choices=["1", "2", "3", "4"]) for i in range(6)]

    def eval_prompts(self):
        return {"near": self.train_prompts()[:2]}

    def train_dataloader(self):
        return PhaseLoader(self.train_set, batch_size=self.batch_size * self.waves_per_phase, shuffle=False)


@dataclass(frozen=True)
class Written(Reward):
    """Of the prompt with number n, the first n of four completions are right."""

    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = True

    def __call__(self, completions):
        return [float(i % 4 < int(one.prompt.sample_id[-1])) for i, one in enumerate(completions)]


@pytest.fixture
def fit(make_trainer, tiny_lm_path):
    def run(diagnostics, *, advantage=MixedAdvantage(), dynamic_sampling=None, ckpt_path=None, **arguments):  # noqa: B008
        module = MAPOModule(
            policy=Policy(path=str(tiny_lm_path)),
            rewards=[Written()],
            advantage=advantage,
            dynamic_sampling=dynamic_sampling,
            group_size=4,
            sampling=SHORT,
            evaluation=Evaluation(sampling=SHORT),
            kl_coef=0.0,
            optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
            seed=0,
        )
        callbacks = diagnostics if isinstance(diagnostics, list) else [diagnostics]
        trainer = make_trainer(*callbacks, **{"limit_val_batches": 0, **arguments})
        trainer.fit(module, datamodule=Rows(batch_size=2, instruction=""), ckpt_path=ckpt_path)
        return trainer

    return run


def shown(logger):
    return EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()


def test_scalars_of_every_phase_and_figures_at_every_validation(fit, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    fit(CertaintyDiagnostics(), logger=logger, max_epochs=2, limit_val_batches=1, val_check_interval=3)
    found = shown(logger)
    scalars = {name.removeprefix("certainty/"): found.Scalars(name) for name in found.Tags()["scalars"]}
    assert [event.step for event in scalars["silent_share"]] == list(range(2 * PHASES))
    # Phases of prompts 0 and 1, 2 and 3, 4 and 5: successes of four.
    for num, shares in (("00", [0.5, 0, 0]), ("01", [0.5, 0, 0]), ("03", [0, 0.5, 0]), ("04", [0, 0, 1])):
        assert [event.value for event in scalars[f"successes/{num}"]] == shares * 2
    assert [event.value for event in scalars["silent_share"]] == [0.5, 0, 1] * 2
    assert [event.value for event in scalars["guess_floor"]] == [0.25] * 2 * PHASES
    assert [event.step for event in scalars["retention"]] == [4, 5]  # prompts 3, 4 and 5 come again
    assert scalars["retention"][0].value == 1
    # Phase 1: p = 1/2, z-score 1; p = 3/4 with λ = 1/4, z-score 1.732, percent deviation 1.
    largest = [event.value for event in scalars["max_advantage"]]
    assert largest[1] == pytest.approx(0.75 * 1.732 + 0.25, abs=1e-3)
    assert scalars["reversion_rate"][0].step == 1
    assert scalars["reversion_rate"][0].value == scalars["reversion_rate_grpo"][0].value == 1
    steps = {name: [event.step for event in found.Images(name)] for name in FIGURES}
    assert steps == dict(zip(FIGURES, ([3, 6], [6], [3, 6]), strict=True))  # nothing came twice before the 4th phase


def test_two_ranks_count_as_one(fit, monkeypatch):
    alone, two_ranks = CertaintyDiagnostics(), CertaintyDiagnostics()
    fit(alone, limit_train_batches=2)
    monkeypatch.setattr("mapo.callbacks.phase_groups.gather", lambda value: [value, value])
    fit(two_ranks, limit_train_batches=2)
    for name, value in alone.latest.items():
        times = 2 if name.startswith("certainty/advantage_sum/") else 1
        assert two_ranks.latest[name] == pytest.approx(times * value), name


@pytest.mark.parametrize(("advantage", "branches"), [(MixedAdvantage(), True), (ZScore(), False)])
def test_branches_are_told_where_the_advantage_has_any(fit, advantage, branches):
    diagnostics = CertaintyDiagnostics()
    fit(diagnostics, advantage=advantage, limit_train_batches=2)
    sums = {name for name in diagnostics.latest if name.startswith("certainty/advantage_sum/")}
    assert ({"certainty/advantage_sum/z_score", "certainty/advantage_sum/percent_deviation"} <= sums) == branches
    assert diagnostics.latest["certainty/advantage_sum/most"] > 0


def test_groups_that_dynamic_sampling_leaves_out_count_for_prompts_and_not_for_advantages(fit):
    diagnostics = CertaintyDiagnostics()
    fit(diagnostics, dynamic_sampling=DynamicSampling(max_refills=1), limit_train_batches=1)
    found = {name.removeprefix("certainty/"): value for name, value in diagnostics.latest.items()}
    # Of prompts 0 to 3, 1 and 2 are trained on; 3 has a signal, but comes too late.
    assert [found[f"successes/{num:02}"] for num in range(5)] == [0.25] * 4 + [0]
    assert len(diagnostics.state_dict()["history"]) == 4
    assert found["silent_share"] == 0
    assert found["active_certainty"] == pytest.approx((0.25 + 0) / 2)
    assert found["advantage_sum/most"] == 0
    by_bin = sum(found[f"advantage_sum/{name}"] for name in ("few", "half"))
    assert found["advantage_sum/z_score"] + found["advantage_sum/percent_deviation"] == pytest.approx(by_bin)
    assert found["reversion_rate"] == 1  # of the one pair there is


def test_the_curve_in_use_shows_what_the_policy_was_updated_with(fit, tmp_path, monkeypatch):
    drawn, updated = [], []
    monkeypatch.setattr(certainty, "advantage_map", lambda *found: drawn.append(found) or advantage_map(*found))

    class Kept(CertaintyDiagnostics):
        def on_train_batch_end(self, trainer, pl_module, *args):
            updated.append(pl_module.last_phase.advantages)
            super().on_train_batch_end(trainer, pl_module, *args)

    random = MixedAdvantage(certainty=Random())
    fit(Kept(), advantage=random, logger=TensorBoardLogger(tmp_path), limit_train_batches=2)
    ((methods, _),) = drawn
    torch.testing.assert_close(methods["MixedAdvantage (MAPO), in use"], torch.cat(updated))


def test_a_resumed_run_knows_its_prompts_and_phases(fit, tmp_path):
    whole, first, resumed = (CertaintyDiagnostics() for _ in range(3))
    fit(whole, max_epochs=2)
    fit(first).save_checkpoint(tmp_path / "half.ckpt")
    state = torch.load(tmp_path / "half.ckpt", weights_only=True)["callbacks"]["CertaintyDiagnostics"]
    assert len(state["history"]) == 2 * PHASES
    fit(resumed, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.latest == whole.latest


def test_an_advantage_of_tomorrow_has_its_curve(fit, tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Tomorrow(Advantage):
        """TOM: twice the reward."""

        def __call__(self, scores, phase):
            return 2 * scores.rewards

    @dataclass(frozen=True)
    class Choosy(Advantage):
        def __call__(self, scores, phase):
            return scores.components["only in other runs"]

    @dataclass(frozen=True)
    class Misshapen(Advantage):
        def __call__(self, scores, phase):
            return scores.rewards[:, 0]

    class Unmakeable(Choosy):
        def __init__(self):
            raise OSError("its table is missing")

    drawn = []
    monkeypatch.setattr(certainty, "advantage_map", lambda *found: drawn.append(found) or advantage_map(*found))
    logger = TensorBoardLogger(tmp_path)
    with pytest.warns(UserWarning, match="not in the advantage map") as caught:
        fit(CertaintyDiagnostics(), advantage=Tomorrow(), logger=logger, limit_val_batches=1, limit_train_batches=2)
    told = [str(one.message) for one in caught if "advantage map" in str(one.message)]
    assert told == [
        "Choosy is not in the advantage map: KeyError: 'only in other runs'",
        "Misshapen is not in the advantage map: ValueError: expected shape (2, 4), got (2,)",
        "Unmakeable is not in the advantage map: OSError: its table is missing",
    ]
    methods, success = drawn[-1]
    assert next(iter(methods)) == "Tomorrow (TOM), in use"
    assert {
        "MixedAdvantage (MAPO)",
        "ZScore (GRPO)",
        "BatchNormalised (REINFORCE++)",
        "PercentDeviation (APD)",
    } <= methods.keys()
    assert not [name for name in methods if name.startswith(("Choosy", "Misshapen"))]
    assert success.sum(dim=1).tolist() == [0, 1, 2, 3]


def test_a_logger_without_figures_has_files_and_one_line_says_so(fit, tmp_path, caplog):
    logger = CSVLogger(tmp_path)
    with caplog.at_level("INFO"):
        fit(CertaintyDiagnostics(), logger=logger, limit_train_batches=1)
    (line,) = [record.message for record in caplog.records if "CertaintyDiagnostics" in record.message]
    folder = Path(logger.log_dir) / "figures"
    assert line == f"CertaintyDiagnostics: CSVLogger shows no figures; their latest go to {folder}"
    assert {path.name for path in (folder / "certainty").iterdir()} == {"advantage_map.png", "success_histogram.png"}


def test_the_table_of_completions_speaks_for_both(fit, tmp_path, caplog):
    diagnostics, table = CertaintyDiagnostics(), CompletionsTable()
    with caplog.at_level("INFO"):
        fit([diagnostics, table], logger=CSVLogger(tmp_path), limit_train_batches=1)
    (line,) = [record.message for record in caplog.records if "shows no" in record.message]
    assert line.startswith("CompletionsTable: CSVLogger shows no tables or figures; ")
    assert line.endswith(f"figures to {tmp_path / 'lightning_logs' / 'version_0' / 'figures'}")


def test_the_module_keeps_the_means_that_it_logged(fit):
    trainer = fit(CertaintyDiagnostics(), limit_train_batches=1)
    means = trainer.lightning_module.last_means
    assert {"train/truncated_share", "train/active_group_share", "train/valid_share"} <= means.keys()
    assert means == pytest.approx({name: float(trainer.callback_metrics[name]) for name in means})


def test_figures_can_be_left_out(fit, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    fit(CertaintyDiagnostics(figures=False), logger=logger, limit_train_batches=1)
    assert shown(logger).Tags()["images"] == []
    assert "certainty/silent_share" in shown(logger).Tags()["scalars"]


@pytest.mark.parametrize(("advantage", "times"), [(MixedAdvantage(), 1), (ZScore(), 0)])
def test_small_groups_are_warned_of_for_the_advantage_in_use_and_not_for_one_that_is_drawn(
    fit, tmp_path, advantage, times
):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(CertaintyDiagnostics(), advantage=advantage, logger=TensorBoardLogger(tmp_path), limit_train_batches=1)
    assert sum("MixedAdvantage with group_size = 4" in str(one.message) for one in caught) == times


def test_a_module_without_rollouts_is_left_alone(module, make_trainer, phases):
    diagnostics = CertaintyDiagnostics()
    make_trainer(diagnostics).fit(module(), phases)
    assert diagnostics.latest == {}


def test_a_negative_number_of_prompts_is_refused():
    with pytest.raises(ValueError, match="max_prompts must be >= 0"):
        CertaintyDiagnostics(max_prompts=-1)
