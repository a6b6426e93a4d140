import json
import shutil
from pathlib import Path

import pytest

from mapo.policies.builtin import builtin_path
from mapo.policies.companions import save_companions
from mapo.policies.policy import Policy

TEMPLATE = "{% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %}"


@pytest.fixture
def base(tmp_path) -> Path:
    """The built-in model without its weights."""
    return Path(shutil.copytree(builtin_path(), tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors")))


def saved(base: Path, **settings) -> Path:
    folder = base.parent / "saved"
    folder.mkdir()
    save_companions(Policy(path=str(base), **settings).load_renderer(), folder)
    shutil.copyfile(base / "config.json", folder / "config.json")  # that of the weights
    return folder


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_files_are_copied_byte_for_byte(base):
    folder = saved(base)
    for path in base.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("spelling", ["older", "newer", "nested"])
def test_bounds_of_images_are_those_of_the_policy(base, spelling):
    file = base / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    if spelling != "older":
        settings["size"] = {"shortest_edge": settings.pop("min_pixels"), "longest_edge": settings.pop("max_pixels")}
        file.write_text(json.dumps(settings))
    if spelling == "nested":
        file.unlink()
        nested = {"processor_class": settings.pop("processor_class"), "image_processor": settings}
        (base / "processor_config.json").write_text(json.dumps(nested))
    folder = saved(base, max_pixels=100 * 28 * 28)
    size = dict(Policy(path=str(folder)).load_renderer().processor.image_processor.size)
    assert (size["shortest_edge"], size["longest_edge"]) == (56 * 56, 100 * 28 * 28)
    assert (
        "Qwen2_5_VLProcessor" in (folder / ("processor_config.json" if spelling == "nested" else file.name)).read_text()
    )


def test_a_chat_template_of_the_policys_own_replaces_the_models(base):
    older = base / "chat_template.json"
    older.write_text(json.dumps({"chat_template": (base / "chat_template.jinja").read_text()}))
    (base / "chat_template.jinja").unlink()
    folder = saved(base, chat_template=TEMPLATE)
    assert Policy(path=str(folder)).load_renderer().chat_template == TEMPLATE
    assert not (folder / older.name).exists()


@pytest.mark.parametrize("listed", [None, 785, [785]])
def test_every_token_that_ends_an_answer_is_listed(base, listed):
    """The tokenizer's own, <|im_end|>, is what the policy was trained to end its answers with."""
    file = base / "generation_config.json"
    if listed is None:
        file.unlink()
    else:
        change(file, eos_token_id=listed)
    change(base / "config.json", eos_token_id=785)
    generation = json.loads((saved(base) / "generation_config.json").read_text())
    assert 787 in generation["eos_token_id"]
    assert set(generation["eos_token_id"]) == set(Policy(path=str(base)).load_renderer().eos_ids)
    assert generation["pad_token_id"] == 785
