"""What a user gets wrong ends in one readable line that names it and the fix, before any weight is loaded."""

import json
from pathlib import Path

import pytest
from command_line import SHORT, invoke
from PIL import Image

from mapo.policies.policy import Policy

TINY = ["--config", "configs/mapo_tiny.yaml"]
FIT = ["fit", *TINY, *SHORT]
GEOMETRY = ["fit", *TINY, "--data", "Geometry3K", "--data.path", "rows", "--data.eval_splits=[train]"]
GSM8K = ["fit", *TINY, "--data", "GSM8K", "--data.path", "rows", "--data.eval_splits=[train]"]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Run a command that must be refused, and return its one line."""

    def load_model(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(Policy, "load_model", load_model)
    return lambda *arguments: invoke(tmp_path, *arguments).error


def expect(line: str, *words: str) -> None:
    assert "\n" not in line
    for word in words:
        assert word in line


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model.group_size=1"], ["group_size must be >= 2, got 1"]),
        (["--model.kl_coef=-0.1"], ["kl_coef must be >= 0", "got -0.1"]),
        (["--model.rewards", '[{"class_path": "MathAnswer", "init_args": {"weight": 0}}]'], ["weights sum to 0"]),
        (["--model.updates_per_phase=4", "--data.batch_size=6"], ["data.batch_size=6", "a multiple of 4"]),
        (["--data=PlaneFigures"], ["monitors 'val/grid_rectangles/accuracy'", "val/plane_figures/accuracy"]),
        (["--data.batch_size=16"], ["8 training rows do not fill one phase of batch_size=16", "batch_size <= 8"]),
        (["--trainer.gradient_clip_val=1.0"], ["trainer.gradient_clip_val=1.0", "use model.gradient_clip_norm"]),
        (["--trainer.precision=bf16-true"], ["bf16-true", "use 'bf16-mixed'"]),
        (["--trainer.devices=some"], ["trainer options", "devices"]),
        (["--model.policy.max_prompt_tokens=20"], ["grid_rectangles/val/0/0", "max_prompt_tokens=20", "on_bad_row"]),
        (["--ckpt_path", "nowhere.ckpt"], ["ckpt_path nowhere.ckpt does not exist"]),
        (["--model.policy.path", "./models/none"], ["'./models/none' cannot be loaded", "config.json", "'builtin'"]),
        (["--model.policy.path", "nobody/nothing"], ["'nobody/nothing' cannot be loaded", "Hugging Face Hub"]),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_impossible_values_are_refused(refused, options, words):
    expect(refused(*FIT, *options), *words)


def test_a_configuration_file_cannot_run_the_code_of_a_model(refused, tmp_path):
    file = tmp_path / "theirs.yaml"
    file.write_text("model: {policy: {path: some/model, trust_remote_code: true}}")
    expect(refused(*FIT, "--config", str(file)), "sets model.policy.trust_remote_code", "'some/model'", "say so")
    line = refused(*FIT, "--config", str(file), "--model.policy.trust_remote_code=true")
    expect(line, "'some/model' cannot be loaded")


def test_a_hub_model_is_announced_before_the_network_is_asked(tmp_path):
    outcome = invoke(tmp_path, *FIT, "--model.policy.path", "nobody/nothing")
    assert "'nobody/nothing' is no folder here; asking the Hugging Face Hub" in outcome.log


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--modle.group_size=8", ["--modle.group_size", "did you mean model.group_size?"]),
        ("--model.group_sise=8", ["--model.group_sise", "did you mean model.group_size?"]),
        ("--trainer.max_epoch=8", ["--trainer.max_epoch", "did you mean trainer.max_epochs?"]),  # no abbreviations
        ("--model.advantage.epps=1", ["--model.advantage.epps", "takes ddof, eps", "did you mean eps?"]),
        ("--data.batchsize=8", ["--data.batchsize", "GridRectangles takes", "did you mean batch_size?"]),
        ("--model.policy.lora.rnk=8", ["--model.policy.lora.rnk", "did you mean rank?"]),
        ("--model.rewards.0.weight=1", ["--model.rewards.0.weight", "a list can only be given as a whole"]),
        ("--model.group_size=many", ["--model.group_size: expected int, got 'many'"]),
        ("--model.advantage.eps=big", ["--model.advantage.eps: expected float, got 'big'"]),
        ("--data.num_eval=all", ["--data.num_eval: expected int, got 'all'"]),
        ("--trainer.max_epochs=some", ["--trainer.max_epochs: expected int or null, got 'some'"]),
        ("--model.kl_estimator=k4", ["--model.kl_estimator: expected one of 'k1', 'k2', 'k3', got 'k4'"]),
        ("--model.advantage=Zscore", ["there is no class 'Zscore'; did you mean ZScore?"]),
        ("--data=GridRectangle", ["there is no class 'GridRectangle'; did you mean GridRectangles?"]),
        ("--config=configs/none.yaml", ["--config", "configs/none.yaml"]),
        ("--data=WEBEmo", ["--data: WEBEmo needs path; give --data.path"]),
        ("--data.max_eval_samples=some", ["--data.max_eval_samples: expected int or null, got 'some'"]),
    ],
)
def test_misspelt_options_are_refused_with_what_was_meant(refused, option, words):
    expect(refused("fit", *TINY, option), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle: {group_size: 8}", ["modle.group_size in more.yaml, line 1", "did you mean model.group_size?"]),
        ("\n\nmodel:\n  group_sise: 8", ["model.group_sise in more.yaml, line 4", "did you mean model.group_size?"]),
        (
            "model:\n  advantage:\n    class_path: MixedAdvantage\n    init_args: {epps: 1}",
            ["model.advantage.epps in more.yaml, line 4", "MixedAdvantage takes ddof", "did you mean eps?"],
        ),
        (
            "model:\n  rewards:\n    - class_path: mapo.rewards.math_answer.MathAnswer\n      init_args: {wait: 1}",
            ["model.rewards.wait in more.yaml, line 4", "MathAnswer takes weight"],
        ),
        (
            "data:\n  class_path: GridRectangles\n  init_args:\n    batchsize: 1",
            ["data.batchsize in more.yaml, line 4", "did you mean batch_size?"],
        ),
        ("model:\n  group_size: many", ["model.group_size in more.yaml, line 2: expected int, got 'many'"]),
        (
            "model:\n  advantage: {class_path: MixedAdvantage, init_args: {eps: big}}",
            ["model.advantage.eps in more.yaml, line 2: expected float, got 'big'"],
        ),
        (
            "model:\n  advantage: {class_path: mapo.advantages.mixed.Mixed}",
            ["model.advantage in more.yaml, line 2", "mapo.advantages.mixed.Mixed"],
        ),
        (
            "model:\n  advantage: {class_path: mapo.rewards.math_answer.MathAnswer}",
            ["model.advantage in more.yaml, line 2", "not correspond to a subclass of Advantage"],
        ),
        ("model: {group_size: [8", ["more.yaml, line", "is no YAML"]),
        (
            "data: {class_path: EmoSet, init_args: {out_of_domain: [{class_path: WEBEmo, init_args: {taxonomy: 6}}]}}",
            ["--data: WEBEmo needs path; give it in its init_args"],
        ),
        (
            "data: {class_path: MathVerse, init_args: {versions: [Text Onl]}}",
            ["data.versions in more.yaml, line 1: expected a list of one of 'Text ", "did you mean Text Only?"],
        ),
        (
            "data: {class_path: JSONL, init_args: {evaluation: own.jsonl}}",
            ["data.evaluation in more.yaml, line 1: expected a mapping of str to str or null, got 'own.jsonl'"],
        ),
    ],
    ids=lambda value: value.split()[-1] if isinstance(value, str) else "",
)
def test_mistakes_in_a_file_are_refused_with_their_line(refused, tmp_path, text, words):
    (tmp_path / "more.yaml").write_text(text)
    expect(refused("fit", *TINY, "--config", "more.yaml"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fitt", *TINY], ["'fitt'", "'fit'", "'validate'"]),
        (["fit", *TINY, "stray"], ["unknown argument stray"]),
        (["fit"], ["--model.rewards, --data missing", "--config configs/mapo_tiny.yaml"]),
        (["supervised", "fit", *TINY], ["configs/mapo_tiny.yaml, line"]),
        (["validate", *TINY, "--plan=true"], ["unknown argument --plan"]),  # there is nothing to plan
    ],
    ids=lambda value: " ".join(value),
)
def test_commands_that_make_no_sense_are_refused(refused, arguments, words):
    expect(refused(*arguments), *words)


# -- data --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def geometry(tmp_path):
    """Write three problems in the official layout; the second as the test has it."""

    def write(*, answer: str = "B", image: bytes | None = b"") -> None:
        for index in range(3):
            folder = tmp_path / "rows" / "train" / str(index)
            folder.mkdir(parents=True)
            row = {"annotat_text": "Find $x$.", "choices": ["5", "6", "7", "8"], "answer": "A"}
            Image.new("RGB", (56, 56)).save(folder / "img_diagram.png")
            if index == 1:
                row["answer"] = answer
                replace_image(folder / "img_diagram.png", image)
            (folder / "data.json").write_text(json.dumps(row))

    return write


def replace_image(path: Path, image: bytes | None) -> None:
    if image is None:
        path.unlink()
    elif image:
        path.write_bytes(image)


def test_a_folder_without_pictures_is_refused(refused, geometry):
    geometry(image=None)
    expect(refused(*GEOMETRY), "1 of 3 rows", "'train-1'", "img_diagram.png is missing", "on_bad_row='skip'")


def test_an_unreadable_picture_is_refused(refused, geometry):
    geometry(image=b"no picture")
    expect(refused(*GEOMETRY), "1 of 3 rows", "'train-1'", "cannot read the image", "replace or remove the file")


def test_a_row_without_an_answer_is_refused(refused, geometry):
    geometry(answer="")
    expect(refused(*GEOMETRY), "1 of 3 rows", "'train-1'", "answer ''", "Mend or remove them")


def test_a_training_row_without_an_answer_is_refused_before_the_first_validation(refused, tmp_path):
    (tmp_path / "rows").mkdir()
    good, bad = {"question": "1 + 1?", "answer": "#### 2"}, {"question": "2 + 2?", "answer": None}
    (tmp_path / "rows" / "train.jsonl").write_text("\n".join(map(json.dumps, [good, bad])))
    (tmp_path / "rows" / "test.jsonl").write_text(json.dumps(good))
    expect(refused(*GSM8K, "--data.eval_splits=[test]"), "set 'train'", "1 of 2 rows", "'train-1'")


def test_a_folder_without_rows_is_refused(refused, tmp_path):
    (tmp_path / "rows").mkdir()
    expect(refused(*GEOMETRY), "'rows'", "Expected a Hub id")


def test_a_picture_too_large_for_the_prompt_limit_is_refused_with_the_size_that_fits(refused, geometry):
    geometry()
    options = ["--model.policy.max_prompt_tokens=19", "--data.instruction=", "--data.batch_size=3"]
    line = refused(*GEOMETRY, *options, "--trainer.callbacks=null")
    expect(line, "'train-0'", "max_prompt_tokens=19", "model.policy.max_pixels=", "on_bad_row='skip'")


def test_debugging_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("MAPO_DEBUG", "1")
    with pytest.raises(ValueError, match="group_size"):
        invoke(tmp_path, *FIT, "--model.group_size=1")
