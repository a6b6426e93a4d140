"""The emotion benchmarks through the real command line, on tiny folders in the layouts of their authors."""

import csv
import json

import pytest
import yaml
from command_line import CONFIGS, invoke
from PIL import Image

from mapo.data.emoset import MIKELS
from mapo.data.emotion6 import EKMAN, NEUTRAL

EMOTION = ["--config", "configs/mapo_tiny.yaml", "--config", "configs/data/emotion.yaml", "--data.path", "emoset"]
SCRIPT = {
    "test-0": "Contentment.",  # of EmoSet, WEBEmo and Emotion6
    "test-1": "The emotion is awe",  # of EmoSet and WEBEmo
    "test-2": "fear or sadness",
    "awe/1.jpg": "(B)",
    "fear/1.jpg": "not fear",
    "awe_1.jpg": "**Awe**",
}


def paint(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "red").save(file)


def emoset(folder, split, *labels):
    entries = [[label, f"image/{label}/{label}_{split}{i}.jpg", "none.json"] for i, label in enumerate(labels)]
    for _, picture, _ in entries:
        paint(folder / picture)
    (folder / f"{split}.json").write_text(json.dumps(entries))


def webemo(folder, *numbers):
    for i in range(len(numbers)):
        paint(folder / "images" / f"{i}.jpg")
    lines = [f"https://stock.example/00/{i}.jpg {number}\n" for i, number in enumerate(numbers)]
    (folder / "test25.txt").write_text("".join(lines))


def emotion6(folder, *names):
    shares = dict.fromkeys([f"prob. {emotion}" for emotion in (*EKMAN, NEUTRAL)], 0.1)
    for name in names:
        paint(folder / "images" / name)
    with (folder / "test.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=["filename", *shares])
        table.writeheader()
        table.writerows({"filename": name} | shares for name in names)


@pytest.fixture
def folder(tmp_path):
    """Return where the folders lie that configs/data/emotion.yaml names."""
    emoset(tmp_path / "emoset", "test", "contentment", "awe", "fear")
    emoset(tmp_path / "emoset", "train", *MIKELS[:4])
    webemo(tmp_path / "data" / "webemo", 3, 22)  # contentment, surprise
    emotion6(tmp_path / "data" / "emotion6", "joy/1.jpg")
    for picture in ("fi/awe/1.jpg", "fi/fear/1.jpg", "artphoto/awe_1.jpg"):
        paint(tmp_path / "data" / picture)
    return tmp_path


def results(folder):
    (file,) = folder.rglob("results.json")
    return json.loads(file.read_text())["sets"]


@pytest.mark.slow
def test_validate_reports_every_set_of_the_family(folder):
    script = folder / "script.jsonl"
    rows = [{"sample_id": k, "completions": [rf"<think>?</think>\boxed{{{v}}}"]} for k, v in SCRIPT.items()]
    script.write_text("\n".join(map(json.dumps, rows)))
    engine = ["--model.rollout=ScriptedEngine", f"--model.rollout.path={script}"]
    outcome = invoke(folder, "validate", *EMOTION, *engine)
    assert outcome.code == 0, outcome.err
    figures = {name: figure["accuracy"]["after"] for name, figure in results(folder).items()}
    expected = {"emoset_test": 2 / 3, "webemo_test": 1 / 2, "emotion6_test": 0, "fi": 1 / 2, "artphoto": 1}
    assert figures == pytest.approx(expected)
    assert all(name in outcome.out for name in expected)


@pytest.mark.slow
def test_fit_trains_on_emoset_and_keeps_the_best_checkpoint_by_it(folder):
    short = ["--trainer.limit_train_batches=1", "--trainer.val_check_interval=1", "--data.batch_size=2"]
    short += ["--model.group_size=4", "--model.sampling.max_completion_tokens=16"]
    short += ["--model.evaluation.sampling.max_completion_tokens=16"]
    outcome = invoke(folder, "fit", *EMOTION, *short)
    assert outcome.code == 0, outcome.err
    assert [figure["num_samples_evaluated"]["after"] for figure in results(folder).values()] == [3, 2, 1, 2, 1]
    assert list(folder.rglob("step-*.ckpt"))


@pytest.mark.parametrize("run", ["mapo_tiny", "mapo_qwen"])
def test_the_data_brings_its_rewards_and_its_monitor_to_any_run(tmp_path, run):
    layers = ["--config", f"configs/{run}.yaml", "--config", "configs/data/emotion.yaml"]
    outcome = invoke(tmp_path, "fit", *layers, "--print_config")
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load(outcome.out)
    rewards = {reward["class_path"].rpartition(".")[2]: reward["init_args"] for reward in config["model"]["rewards"]}
    assert {name: arguments["weight"] for name, arguments in rewards.items()} == {"LabelMatch": 0.9, "ThinkFormat": 0.1}
    (checkpoint,) = config["trainer"]["callbacks"]
    assert checkpoint["init_args"]["monitor"] == "val/emoset_test/accuracy"
    assert config["data"]["class_path"].endswith("EmoSet")
    assert config["data"]["init_args"]["path"] == "LiangJian24/EmoSet"
    others = [other["class_path"].rpartition(".")[2] for other in config["data"]["init_args"]["out_of_domain"]]
    assert others == ["WEBEmo", "Emotion6", "ImageFolder", "ImageFolder"]


def test_the_classes_are_those_of_emoset():
    config = yaml.safe_load((CONFIGS / "data" / "emotion.yaml").read_text())
    folders = [o["init_args"] for o in config["data"]["init_args"]["out_of_domain"] if "ImageFolder" in o["class_path"]]
    assert [tuple(arguments["labels"]) for arguments in folders] == [MIKELS, MIKELS]
