"""Every configuration parses through the real command line, and says what its comments claim."""

import functools

import pytest
import yaml
from command_line import CONFIGS, invoke

MAPO = sorted(path.name for path in CONFIGS.glob("mapo_*.yaml"))
ADVANTAGES = {
    "mapo": "mapo.advantages.mixed.MixedAdvantage",
    "grpo": "mapo.advantages.z_score.ZScore",
    "dr_grpo": "mapo.advantages.centered.Centered",
    "rloo": "mapo.advantages.leave_one_out.LeaveOneOut",
    "apd": "mapo.advantages.percent_deviation.PercentDeviation",
}


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    """Return the configuration that a command line amounts to."""
    folder = tmp_path_factory.mktemp("parse")

    @functools.cache
    def print_config(*arguments: str) -> str:
        outcome = invoke(folder, *arguments, "--print_config")
        assert outcome.code == 0, outcome.err
        return outcome.out

    return lambda *arguments: yaml.safe_load(print_config(*arguments))


def test_every_config_is_tested_here():
    assert {path.name for path in CONFIGS.glob("*.yaml")} == {*MAPO, "warm_start_tiny.yaml"}
    assert {path.stem for path in CONFIGS.glob("algorithm/*.yaml")} == set(ADVANTAGES)
    assert not [path for path in CONFIGS.rglob("*") if path.is_file() and path.suffix != ".yaml"]


@pytest.mark.parametrize("name", MAPO)
@pytest.mark.parametrize("algorithm", ADVANTAGES)
def test_every_method_goes_with_every_run(parse, name, algorithm):
    plain = parse("fit", "--config", f"configs/{name}")
    config = parse("fit", "--config", f"configs/{name}", "--config", f"configs/algorithm/{algorithm}.yaml")
    assert config["model"].pop("advantage")["class_path"] == ADVANTAGES[algorithm]
    aggregation = config["model"].pop("aggregation")["class_path"].rpartition(".")[2]
    assert aggregation == ("ConstantLength" if algorithm == "dr_grpo" else "TokenMean")
    del plain["model"]["advantage"], plain["model"]["aggregation"]
    assert config == plain  # a method changes nothing else, so that runs compare


@pytest.mark.parametrize("name", MAPO)
def test_plan_of_every_run_says_what_it_would_do(tmp_path, name):
    outcome = invoke(tmp_path, "fit", "--config", f"configs/{name}", "--plan=true")
    assert outcome.code == 0, outcome.err
    phase = "512 prompts x 12 completions = 6144" if "qwen" in name else "8 prompts x 12 completions = 96"
    for words in (phase, "MixedAdvantage", "think_format 0.1", "T=1 top_p=0.99"):
        assert words in outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]  # a plan leaves nothing behind


def test_warm_start_parses_and_trains_from_scratch(parse):
    config = parse("supervised", "fit", "--config", "configs/warm_start_tiny.yaml")
    assert config["model"]["from_scratch"] is True
    assert config["model"]["policy"]["path"] == "builtin"
    data, schedule = config["data"]["init_args"], config["model"]["lr_scheduler"]["init_args"]
    assert data["clean_steps"] + data["mixed_steps"] == schedule["total_steps"]  # the schedule ends with the curriculum


def test_qwen_is_the_recipe_of_the_paper(parse):
    """Section 4.1 and Table 1 of arXiv 2509.18849; what they leave open is from the authors' training script."""
    config = parse("fit", "--config", "configs/mapo_qwen.yaml")
    model, data, trainer = config["model"], config["data"], config["trainer"]
    assert model["policy"]["path"] == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert model["policy"]["freeze_vision"] is False
    assert (model["policy"]["max_prompt_tokens"], model["sampling"]["max_completion_tokens"]) == (2048, 2048)
    assert (model["policy"]["min_pixels"], model["policy"]["max_pixels"]) == (512**2, 2048**2)
    assert [(r["class_path"].rpartition(".")[2], r["init_args"]["weight"]) for r in model["rewards"]] == [
        ("MathAnswer", 0.9),
        ("ThinkFormat", 0.1),
    ]
    assert model["advantage"]["class_path"] == ADVANTAGES["mapo"]
    assert model["group_size"] == 12
    assert (model["kl_coef"], model["kl_estimator"]) == (0.01, "k3")
    assert model["loss"]["init_args"] == {"clip_low": 0.2, "clip_high": 0.3, "dual_clip": 3.0}
    assert (model["sampling"]["temperature"], model["sampling"]["top_p"]) == (1.0, 0.99)
    assert model["evaluation"]["sampling"]["temperature"] == 0.5
    assert model["optimizer"]["init_args"]["lr"] == 1e-6
    assert model["lr_scheduler"] is None
    assert data["init_args"]["batch_size"] == 512
    assert data["init_args"]["batch_size"] // model["updates_per_phase"] == 128
    assert data["init_args"]["path"] == "hiyouga/geometry3k"
    assert trainer["max_epochs"] * (2101 // data["init_args"]["batch_size"]) == 80  # phases
    assert "bf16" in trainer["precision"]


@pytest.mark.parametrize("name", [name for name in MAPO if "tiny" in name])
def test_tiny_runs_keep_the_papers_weights_and_group_and_need_no_gpu(parse, name):
    config = parse("fit", "--config", f"configs/{name}")
    assert config["model"]["policy"]["path"] == "builtin"
    assert config["model"]["group_size"] == 12
    assert [reward["init_args"]["weight"] for reward in config["model"]["rewards"]] == [0.9, 0.1]
    assert (config["trainer"]["accelerator"], config["trainer"]["devices"]) == ("cpu", 1)
