"""From a data set's question to tokens, with the built-in model: what it shows where, and how long it is."""

import math

import pytest
import torch
from PIL import Image

from mapo.data.prompting import THINK_AND_BOX, build_messages
from mapo.policies.builtin import builtin_path
from mapo.policies.policy import Policy
from mapo.rewards.label import LabelMatch
from mapo.rewards.scoring import score_completions
from mapo.rewards.think_format import ThinkFormat
from mapo.rollout.scripted import ScriptedEngine
from mapo.types import Prompt, Sampling

PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
SIZES = [(90, 61), (33, 140), (1, 1), (199, 1), (84, 84), (641, 479)]


def noise(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8).numpy())


PICTURES = [noise(size, seed) for seed, size in enumerate(SIZES)]


def ask(question, pictures=(), answer="awe", **wording):
    messages, shown = build_messages(question, pictures, **({"instruction": ""} | wording))
    return Prompt("row-3", messages, shown, answer, {"choices": ["awe", "fear"]})


@pytest.fixture(scope="module")
def renderer():
    return Policy(max_prompt_tokens=10_000).load_renderer()


def placed(renderer, prompt):
    """Return the tokens as text, each picture a single placeholder however many features it has, spaces left out."""
    pad = renderer.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    ids = renderer.encode(prompt).input_ids.tolist()
    once = [token for before, token in zip([None, *ids], ids, strict=False) if not token == before == pad]
    return renderer.tokenizer.decode(once).replace(" ", "")


def test_pictures_stand_in_the_tokens_where_the_text_refers_to_them(renderer):
    prompt = ask("<image2> area? <image1> area? <image2>", PICTURES[:2], system="area", instruction="area {question}.")
    user = f"area{PICTURE}area?{PICTURE}area?{PICTURE}."
    expected = f"<|im_start|>system\narea<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    assert placed(renderer, prompt) == expected.replace(" ", "")


def test_a_picture_referred_to_twice_is_shown_twice_with_the_same_features(renderer):
    features = renderer.encode(ask("<image1> <image2> <image1>?", PICTURES[:2])).features
    first, second, again = features["image_grid_thw"]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    sizes = [int(grid.prod()) for grid in (first, second, again)]
    pixels = features["pixel_values"].split(sizes)
    assert torch.equal(pixels[0], pixels[2])
    own = renderer.encode(ask("<image>?", PICTURES[:1])).features
    assert torch.equal(pixels[0], own["pixel_values"])


@pytest.mark.parametrize("pixels", [{}, {"max_pixels": 56 * 56}, {"min_pixels": 112 * 112, "max_pixels": 140 * 140}])
@pytest.mark.parametrize(
    "question",
    [
        "Area?",
        "<image>Area?",
        "<image1> <image1> area?",
        "<image3> <image1>, <image3>!",
        "<image>" * 6 + "?",
    ],
)
def test_the_length_measured_from_headers_is_the_one_processed(question, pixels):
    renderer = Policy(max_prompt_tokens=10_000, **pixels).load_renderer()
    for wording in ({"instruction": THINK_AND_BOX}, {"instruction": "A: {question}", "system": "area"}):
        prompt = ask(question, PICTURES, **wording)
        encoded = renderer.encode(prompt)
        assert renderer.prompt_length(prompt) == len(encoded.input_ids)
        pad = renderer.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        areas = encoded.features["image_grid_thw"].prod(-1) * 14**2  # pixels that the vision tower sees
        assert (encoded.input_ids == pad).sum() == areas.sum() // 28**2
        assert len(areas) == len(prompt.images)


@pytest.mark.parametrize("size", [size for size in SIZES if size != (199, 1)])  # too thin: sides are whole tokens
def test_the_pixel_limits_bound_what_the_vision_tower_sees(size):
    smallest, largest = 4 * 28**2, 16 * 28**2
    renderer = Policy(min_pixels=smallest, max_pixels=largest).load_renderer()
    (grid,) = renderer.encode(ask("Area?", [noise(size, 0)])).features["image_grid_thw"]
    assert smallest <= int(grid.prod()) * 14**2 <= largest
    if max(size) / min(size) < 4:
        ratio = math.log(grid[2] / grid[1]) - math.log(size[0] / size[1])
        assert abs(ratio) < math.log(2)  # sides are rounded to whole tokens, not squeezed


def test_an_over_long_prompt_is_measured_with_its_pictures_and_names_the_size_that_fits():
    renderer = Policy(max_prompt_tokens=60).load_renderer()
    prompt = ask("<image1> <image1>?", PICTURES[-1:])
    assert renderer.prompt_length(prompt) > 60
    with pytest.raises(ValueError, match=r"'row-3' has a prompt of .* max_pixels to") as error:
        renderer.encode(prompt)
    fits = int(str(error.value).rpartition("max_pixels to ")[2].split()[0])
    assert (
        renderer.prompt_length(ask("?")) < len(Policy(max_pixels=fits).load_renderer().encode(prompt).input_ids) <= 60
    )


@pytest.mark.parametrize(("opening", "text"), [("<think>", ""), ("", "<think>"), ("<think>\n", "")])
def test_a_thought_that_the_template_opens_earns_the_format_credit(opening, text):
    template = (builtin_path() / "chat_template.jinja").read_text()
    header = "<|im_start|>assistant\n"
    opened = template.replace(header, header + opening)
    assert (opened != template) == bool(opening)
    model = Policy(chat_template=opened).load_model(reference=False)
    encoded = model.renderer.encode(ask("<image>area?", PICTURES[:1]))
    assert encoded.prefill == opening
    assert model.renderer.tokenizer.decode(encoded.input_ids).rstrip("\n").endswith(opening.rstrip("\n"))
    answers = [f"{text}wide eyes</think>\\boxed{{awe}}", f"{text}wide eyes</think>\\boxed{{fear}}", "\\boxed{awe}"]
    engine = ScriptedEngine(completions={"row-3": answers})
    rollouts = engine.generate(model, [encoded], group_size=3, sampling=Sampling(), streams=[0])
    scores = score_completions([LabelMatch(), ThinkFormat()], rollouts.completions)
    assert scores.components["think_format"].tolist() == [[1, 1, 0]]
    assert scores.accuracy.tolist() == [[1, 0, 1]]
    assert scores.success.tolist() == [[True, False, False]]
