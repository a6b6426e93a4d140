"""Every configuration parses through the real command line, and says what its comments claim."""

import functools
import json

import pytest
import yaml
from command_line import CONFIGS, invoke
from hub_copies import place_picture
from math_copies import hub_copy, official_copy

MAPO = sorted(path.name for path in CONFIGS.glob("mapo_*.yaml"))
# By method: its advantage, and whatever else of the module it may change.
METHODS = {
    "mapo": ("mixed.MixedAdvantage", set()),
    "mapo_triangle": ("mixed.MixedAdvantage", set()),
    "mapo_random": ("mixed.MixedAdvantage", set()),
    "mapo_certainty_off": ("mixed.MixedAdvantage", set()),
    "grpo": ("z_score.ZScore", set()),
    "dr_grpo": ("centered.Centered", {"aggregation"}),
    "rloo": ("leave_one_out.LeaveOneOut", set()),
    "apd": ("percent_deviation.PercentDeviation", set()),
    "maxrl": ("percent_deviation.PercentDeviation", set()),
    "tree_rpo": ("tree.TreeDeviation", set()),
    "gpg": ("gpg.Amplified", set()),
    "dgpo": ("mad.MADScore", set()),
    "f_grpo": ("focal.FocalZScore", set()),
    "reinforce_pp": ("batch_normalised.BatchNormalised", set()),
    "gspo": ("z_score.ZScore", {"loss", "aggregation"}),
    "cispo": ("z_score.ZScore", {"loss"}),
    "dapo": ("z_score.ZScore", {"loss", "dynamic_sampling", "mask_truncated", "rewards"}),
}
STRATEGIES = {
    "ddp": "ddp",
    "fsdp2": {
        "class_path": "mapo.modules.fsdp2.FSDP2Strategy",
        "init_args": {"cpu_offload": False, "save_distributed_checkpoint": True, "timeout_minutes": 30.0},
    },
    "deepspeed": "lightning.pytorch.strategies.DeepSpeedStrategy",
}
ROLLOUT = {"vllm": "mapo.rollout.vllm.VLLMEngine", "vllm_server": "mapo.rollout.vllm_server.VLLMServer"}
DATA = {
    "emotion": ["EmoSet", "WEBEmo", "Emotion6", "ImageFolder", "ImageFolder"],
    "math": ["Geometry3K", "MathVista", "MathVerse", "MathVision", "WeMath", "MATH500", "GSM8K"],
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
    assert {path.stem for path in CONFIGS.glob("algorithm/*.yaml")} == set(METHODS)
    assert {path.stem for path in CONFIGS.glob("data/*.yaml")} == set(DATA)
    assert {path.stem for path in CONFIGS.glob("trainer/*.yaml")} == {*STRATEGIES, "one_gpu_lora", "multi_node"}
    assert {path.stem for path in CONFIGS.glob("rollout/*.yaml")} == set(ROLLOUT)
    assert not [path for path in CONFIGS.rglob("*") if path.is_file() and path.suffix != ".yaml"]


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("mapo_tiny.yaml", algorithm) for algorithm in METHODS]
    + [(name, "grpo") for name in MAPO if "tiny.y" not in name],
)
def test_every_method_goes_with_every_run(parse, name, algorithm):
    plain = parse("fit", "--config", f"configs/{name}")
    config = parse("fit", "--config", f"configs/{name}", "--config", f"configs/algorithm/{algorithm}.yaml")
    advantage, others = METHODS[algorithm]
    method, model = config.pop("model"), plain.pop("model")
    assert method["advantage"]["class_path"] == f"mapo.advantages.{advantage}"
    changed = {argument for argument in model if method[argument] != model[argument]} - {"advantage"}
    assert changed == others  # a method changes nothing else, so that runs compare
    assert config == plain


@pytest.mark.parametrize("name", MAPO)
def test_plan_of_every_run_says_what_it_would_do(tmp_path, name):
    outcome = invoke(tmp_path, "fit", "--config", f"configs/{name}", "--plan=true")
    assert outcome.code == 0, outcome.err
    phase = "512 prompts x 12 completions = 6144" if "qwen" in name else "8 prompts x 12 completions = 96"
    for words in (phase, "MixedAdvantage", "think_format 0.1", "T=1 top_p=0.99"):
        assert words in outcome.out
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]  # a plan leaves nothing behind
    if "qwen" in name:
        assert "Fits on GPUs of " in outcome.out
        assert " 80 GB (" in outcome.out  # as each of them claims
        assert (
            least_memory(outcome.out) in (CONFIGS / name).read_text()
            or "memory are there" in (CONFIGS / name).read_text()
        )


def least_memory(text: str) -> str:
    sizes = [float(line.split()[-1]) for line in text.splitlines() if line.strip().startswith("together in")]
    return f"{max(sizes):.0f} GiB"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddp", ["--trainer.devices=8"]),
        ("fsdp2", ["--trainer.devices=8"]),
        ("fsdp2", ["--trainer.devices=8", "--trainer.num_nodes=8"]),
        ("one_gpu_lora", []),
    ],
)
def test_memory_that_a_trainer_claims_is_the_estimates(tmp_path, name, options):
    layers = ["--config", "configs/mapo_qwen.yaml", "--config", f"configs/trainer/{name}.yaml"]
    outcome = invoke(tmp_path, "fit", *layers, *options, "--plan=true")
    assert outcome.code == 0, outcome.err
    assert least_memory(outcome.out) in (CONFIGS / "trainer" / f"{name}.yaml").read_text()


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
    assert model["advantage"]["class_path"] == "mapo.advantages.mixed.MixedAdvantage"
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


def test_the_other_large_recipes_are_that_of_the_paper_but_for_what_they_say(parse):
    math, emotion, adapters = (
        parse("fit", "--config", f"configs/{name}.yaml") for name in ("mapo_qwen", "mapo_qwen_emotion", "mapo_qwen3_vl")
    )
    for config in (math, emotion, adapters):  # whose empty arguments are printed or not
        assert config["model"].pop("aggregation")["class_path"] == "mapo.losses.aggregation.TokenMean"
    assert class_names(math["data"]) == ["Geometry3K", "MathVista", "MathVerse", "MathVision"]
    assert class_names(emotion["data"]) == ["EmoSet", "WEBEmo", "Emotion6"]
    assert emotion["trainer"]["max_epochs"] * (2100 // emotion["data"]["init_args"]["batch_size"]) == 60  # phases
    assert emotion["model"].pop("rewards")[0]["class_path"] == "mapo.rewards.label.LabelMatch"
    assert emotion["model"] == {name: value for name, value in math["model"].items() if name != "rewards"}
    assert math["trainer"]["strategy"]["class_path"] == "mapo.modules.fsdp2.FSDP2Strategy"
    differing = {name for name in math["model"] if math["model"][name] != adapters["model"][name]}
    assert differing == {"policy", "optimizer"}
    assert (adapters["model"]["policy"]["lora"]["rank"], adapters["trainer"]["devices"]) == (64, 1)
    assert adapters["data"] == math["data"]


def test_one_gpu_and_several_machines_go_with_the_run_of_the_paper(parse):
    layer = ("fit", "--config", "configs/mapo_qwen.yaml", "--config")
    alone, many = (parse(*layer, f"configs/trainer/{name}.yaml") for name in ("one_gpu_lora", "multi_node"))
    assert (alone["trainer"]["devices"], alone["trainer"]["strategy"]) == (1, "auto")
    assert alone["model"]["policy"]["lora"]["rank"] == 64
    assert (many["trainer"]["devices"], many["trainer"]["num_nodes"]) == (8, 2)
    assert many["trainer"]["strategy"]["class_path"] == "mapo.modules.fsdp2.FSDP2Strategy"


@pytest.mark.parametrize("name", [name for name in MAPO if "tiny" in name])
def test_tiny_runs_keep_the_papers_weights_and_group_and_need_no_gpu(parse, name):
    config = parse("fit", "--config", f"configs/{name}")
    assert config["model"]["policy"]["path"] == "builtin"
    assert config["model"]["group_size"] == 12
    assert [reward["init_args"]["weight"] for reward in config["model"]["rewards"]] == [0.9, 0.1]
    assert (config["trainer"]["accelerator"], config["trainer"]["devices"]) == ("cpu", 1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_goes_with_the_run_of_the_paper_and_changes_nothing_else(parse, name):
    plain = parse("fit", "--config", "configs/mapo_qwen.yaml")
    config = parse("fit", "--config", "configs/mapo_qwen.yaml", "--config", f"configs/trainer/{name}.yaml")
    strategy = config["trainer"].pop("strategy")
    if name == "deepspeed":
        assert strategy["init_args"]["stage"] == 3
        strategy = strategy["class_path"]
    assert strategy == STRATEGIES[name]
    assert (config["trainer"]["precision"], config["trainer"].pop("devices")) == ("bf16-mixed", "auto")
    del plain["trainer"]["strategy"], plain["trainer"]["devices"]
    assert config == plain


def class_names(data: dict) -> list[str]:
    return [part["class_path"].rpartition(".")[2] for part in (data, *data["init_args"]["out_of_domain"])]


@pytest.mark.parametrize("engine", ROLLOUT)
def test_engines_go_with_a_run_and_change_nothing_else(parse, engine):
    layers = ("fit", "--config", "configs/mapo_qwen.yaml")
    plain, config = parse(*layers), parse(*layers, "--config", f"configs/rollout/{engine}.yaml")
    assert config["model"].pop("rollout")["class_path"] == ROLLOUT[engine]
    del plain["model"]["rollout"]
    assert config == plain


@pytest.mark.parametrize("name", MAPO)
@pytest.mark.parametrize("family", DATA)
def test_data_go_with_every_run_and_change_nothing_else(parse, name, family):
    plain = parse("fit", "--config", f"configs/{name}")
    config = parse("fit", "--config", f"configs/{name}", "--config", f"configs/data/{family}.yaml")
    data, before = config.pop("data"), plain.pop("data")
    assert class_names(data) == DATA[family]
    assert data["init_args"]["batch_size"] == before["init_args"]["batch_size"]
    (checkpoint,) = config["trainer"].pop("callbacks")
    assert checkpoint["init_args"]["monitor"] == f"val/{DATA[family][0].lower()}_test/accuracy"
    assert [reward["init_args"]["weight"] for reward in config["model"].pop("rewards")] == [0.9, 0.1]
    del plain["trainer"]["callbacks"], plain["model"]["rewards"]
    assert config == plain


def test_math_is_read_from_the_hub_unless_told_otherwise(parse):
    layers = ("validate", "--config", "configs/mapo_tiny.yaml", "--config", "configs/data/math.yaml")
    data = parse(*layers)["data"]["init_args"]
    paths = ["AI4Math/MathVista", "AI4Math/MathVerse", "MathLLMs/MathVision", "We-Math/We-Math"]
    paths += ["HuggingFaceH4/MATH-500", "openai/gsm8k"]
    assert data["path"] == "hiyouga/geometry3k"
    assert [part["init_args"]["path"] for part in data["out_of_domain"]] == paths
    assert not any(part["init_args"].get("train_on_test_set") for part in data["out_of_domain"])
    comment = (CONFIGS / "data" / "math.yaml").read_text()
    sets = comment.partition("--data.out_of_domain '")[2].partition("'")[0]
    local = parse(*layers, "--data.path", "rows", f"--data.out_of_domain={sets}")["data"]
    assert (local["init_args"]["path"], class_names(local)) == ("rows", ["Geometry3K", "MathVista", "WeMath"])
    assert [part["init_args"]["path"] for part in local["init_args"]["out_of_domain"]] == ["mathvista", "wemath"]


@pytest.mark.slow
def test_math_validates_from_local_copies(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    official_copy(tmp_path / "mathvista", "mathvista")
    hub_copy(tmp_path / "mathverse", "mathverse", "named")
    official_copy(tmp_path / "mathvision", "mathvision", split="test")
    hub_copy(tmp_path / "wemath", "wemath")
    words = {"problem": "1 + 1?", "question": "1 + 1?", "answer": "#### 2", "solution": "", "subject": "a", "level": 1}
    for name in ("math500", "gsm8k"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text(json.dumps(words | {"unique_id": "test/a/1.json"}))
    problem = tmp_path / "geometry3k" / "test" / "7"
    place_picture(problem / "img_diagram.png")
    problem.joinpath("data.json").write_text(json.dumps({"annotat_text": "Find $x$.", "choices": ["1"], "answer": "A"}))
    config = yaml.safe_load((CONFIGS / "data" / "math.yaml").read_text())
    for part in (config["data"], *config["data"]["init_args"]["out_of_domain"]):
        name = part["class_path"].rpartition(".")[2].lower()
        part["init_args"] |= {"path": name, "max_eval_samples": 3 if name == "wemath" else 2}
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(config))
    outcome = invoke(tmp_path, "validate", "--config", "configs/mapo_tiny.yaml", "--config", "local.yaml")
    assert outcome.code == 0, outcome.err
    (file,) = tmp_path.rglob("results.json")
    sets = json.loads(file.read_text())["sets"]
    counts = {name: figures["num_samples_evaluated"]["after"] for name, figures in sets.items()}
    names = ["geometry3k_test", "mathvista_testmini", "mathverse_testmini", "mathvision_test", "wemath_testmini"]
    assert counts == dict(zip([*names, "math500_test", "gsm8k_test"], [1, 2, 2, 2, 3, 1, 1], strict=True))
    assert sets["wemath_testmini"]["composite_problems"]["after"] == 1
    assert 0 <= sets["wemath_testmini"]["score_strict"]["after"] <= sets["wemath_testmini"]["score_loose"]["after"] <= 1
