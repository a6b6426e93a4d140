import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mapo.data import drawn_faces, grid_rectangles, plane_figures
from mapo.data.problem import draw_prompts
from mapo.policies.builtin import build_tiny, builtin_path
from mapo.policies.policy import Policy
from mapo.rewards.label import LabelMatch
from mapo.rewards.math_answer import MathAnswer
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Prompt, Sampling


@pytest.fixture(scope="module")
def actor():
    return Policy(path="builtin").load_model(reference=False)


def settings(folder) -> dict:
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config["text_config"], config["vision_config"]):
        part.pop("dtype", None), part.pop("transformers_version", None)
    return config


def test_the_shipped_folder_is_what_the_code_writes_but_for_the_weights(tmp_path) -> None:
    built = build_tiny(tmp_path / "built")
    assert {path.name for path in built.iterdir()} == {path.name for path in builtin_path().iterdir()}
    assert settings(built) == settings(builtin_path())
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja", "tokenizer_config.json"):
        assert json_or_text(built / name) == json_or_text(builtin_path() / name), name


def json_or_text(path):
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()


def test_building_is_repeatable_and_leaves_the_global_random_state_alone(tmp_path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    folders = [build_tiny(tmp_path / str(i), seed=seed) for i, seed in enumerate((3, 3, 4))]
    assert torch.equal(torch.rand(1), expected)
    one, same, other = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert one == same != other


def test_it_is_small_and_stored_in_bfloat16(actor) -> None:
    assert sum(p.numel() for p in actor.parameters()) < 600_000
    with safe_open(builtin_path() / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_plain_transformers_loads_it() -> None:
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    network = AutoModelForImageTextToText.from_pretrained(builtin_path())
    tokenizer = AutoTokenizer.from_pretrained(builtin_path())
    assert network.config.get_text_config().vocab_size == len(tokenizer)
    assert tokenizer.decode(tokenizer.encode("naïve  area?")) == "naïve  area?"
    assert network.generation_config.eos_token_id[0] == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize(("size", "tokens"), [((84, 84), 9), ((30, 30), 4), ((640, 480), 30), ((1200, 1200), 36)])
def test_pictures_become_few_tokens(actor, size: tuple[int, int], tokens: int) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What is the area?"}]
    row = Prompt("0", ({"role": "user", "content": content},), (Image.new("RGB", size),), "1", {})
    encoded = actor.renderer.encode(row)
    image_pad = actor.renderer.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert int((encoded.input_ids == image_pad).sum()) == tokens
    assert actor.renderer.prompt_length(row) == len(encoded.input_ids)


def test_only_vision_and_role_tokens_are_banned(actor) -> None:
    banned = set(actor.renderer.tokenizer.convert_ids_to_tokens(list(actor.renderer.banned_ids)))
    assert {"<|image_pad|>", "<|vision_start|>", "<|im_start|>"} <= banned
    assert all(token.startswith("<|") for token in banned)
    assert not banned & {"<|im_end|>", "<think>", "</think>", "\\boxed{"}


@pytest.mark.parametrize(
    ("family", "reward"),
    [
        (grid_rectangles.FAMILY, MathAnswer()),
        (drawn_faces.FAMILY, LabelMatch()),
        (plane_figures.FAMILY, MathAnswer()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_is_mostly_wrong_but_finds_the_answer_in_a_group(actor, family, reward) -> None:
    """What makes it worth training: most draws are wrong, and nearly every group holds a right one."""
    rows = [actor.renderer.encode(row) for row in draw_prompts(family, "val", 32, 0)]
    rollouts = TransformersEngine().generate(
        actor,
        rows,
        group_size=12,
        sampling=Sampling(temperature=1.0, max_completion_tokens=48),
        streams=range(len(rows)),
    )
    groups = [reward(group) for group in rollouts.completions]
    assert 0.15 < sum(map(sum, groups)) / (12 * len(groups)) < 0.5
    assert sum(max(group) == 1 for group in groups) >= 29
