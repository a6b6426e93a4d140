import re

import pytest
import torch
from PIL import Image

from mapo.policies.policy import Policy

SIZES = [(84, 84), (1, 1), (28, 56), (30, 200), (500, 40), (333, 77), (1000, 1000)]


@pytest.fixture(scope="module")
def renderer(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_renderer()


@pytest.mark.parametrize("size", SIZES)
def test_length_from_headers_is_the_length_encoded(renderer, make_prompt, size):
    for prompt in (make_prompt("What?", size), make_prompt("Both?", size, (60, 90))):
        encoded = renderer.encode(prompt)
        assert renderer.prompt_length(prompt) == len(encoded.input_ids)
        assert encoded.features["mm_token_type_ids"].shape == (1, len(encoded.input_ids))
        assert len(encoded.features["pixel_values"]) == encoded.features["image_grid_thw"].prod(-1).sum()


def test_text_alone_has_no_image_features(renderer, make_prompt):
    prompt = make_prompt("hello")
    encoded = renderer.encode(prompt)
    text = renderer.tokenizer.decode(encoded.input_ids)
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert "pixel_values" not in encoded.features
    assert encoded.prompt is prompt
    assert renderer.prompt_length(prompt) == len(encoded.input_ids)


def test_language_model_joins_text_parts_and_refuses_images(tiny_lm_path, make_prompt):
    renderer = Policy(path=str(tiny_lm_path)).load_renderer()
    encoded = renderer.encode(make_prompt("hello"))
    assert renderer.tokenizer.decode(encoded.input_ids).startswith("<|im_start|>user\nhello<|im_end|>")
    assert encoded.features == {}
    with pytest.raises(ValueError, match=r"'q3' has images, but the policy is a language model"):
        renderer.encode(make_prompt("look", (20, 20), sample_id="q3"))


def test_template_that_opens_the_answer_gives_prefill(tiny_vl_path, make_prompt):
    original = (tiny_vl_path / "chat_template.jinja").read_text()
    template = original.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    renderer = Policy(path=str(tiny_vl_path), chat_template=template).load_renderer()
    encoded = renderer.encode(make_prompt("hello"))
    assert encoded.prefill == "<think>\n"
    assert renderer.tokenizer.decode(encoded.input_ids).endswith("assistant\n<think>\n")


def test_long_prompt_is_refused_with_the_pixels_that_fit(tiny_vl_path, make_prompt):
    prompt = make_prompt("What?", (112, 112), (112, 112), sample_id="geo-12")
    policy = {"path": str(tiny_vl_path), "max_prompt_tokens": 45}
    with pytest.raises(ValueError, match=r"'geo-12' has a prompt of 6\d tokens.*max_prompt_tokens=45") as error:
        Policy(**policy).load_renderer().encode(prompt)
    pixels = int(re.search(r"max_pixels to (\d+)", str(error.value))[1])
    assert len(Policy(**policy, max_pixels=pixels).load_renderer().encode(prompt).input_ids) <= 45


def test_long_text_is_refused_without_talk_of_pixels(tiny_vl_path, make_prompt):
    renderer = Policy(path=str(tiny_vl_path), max_prompt_tokens=40).load_renderer()
    for sizes in ((), ((28, 28),)):
        with pytest.raises(ValueError, match="max_prompt_tokens=40") as error:
            renderer.encode(make_prompt("long " * 20, *sizes))
        assert "max_pixels" not in str(error.value)


def test_length_of_a_long_prompt_is_measured_not_refused(tiny_vl_path, make_prompt):
    renderer = Policy(path=str(tiny_vl_path), max_prompt_tokens=10).load_renderer()
    assert renderer.prompt_length(make_prompt("What?", (84, 84))) > 10


@pytest.mark.parametrize(("parts", "images"), [(1, 0), (0, 1), (2, 1)])
def test_image_parts_must_match_images(renderer, make_prompt, parts, images):
    content = [*[{"type": "image"}] * parts, {"type": "text", "text": "?"}]
    prompt = make_prompt("?", sample_id="q9")._replace(
        messages=({"role": "user", "content": content},), images=(Image.new("RGB", (28, 28)),) * images
    )
    for function in (renderer.encode, renderer.prompt_length):
        with pytest.raises(ValueError, match=f"'q9' has {parts} image parts in its messages but {images} images"):
            function(prompt)


def test_unreadable_image_names_sample_and_file(renderer, make_prompt):
    prompt = make_prompt("?", (28, 28), sample_id="q5")._replace(images=("lost.png",))
    with pytest.raises(ValueError, match=r"sample 'q5': cannot read the image lost\.png"):
        renderer.encode(prompt)


def test_extreme_aspect_ratio_names_sample(renderer, make_prompt):
    with pytest.raises(ValueError, match=r"sample 'thin': .*aspect ratio"):
        renderer.encode(make_prompt("?", (1, 300), sample_id="thin"))


@pytest.mark.parametrize("sizes", [(), ((28, 28),)])
@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_end|>", "<|im_start|>"])
def test_special_token_written_in_a_question_names_sample(renderer, make_prompt, token, sizes):
    for function in (renderer.encode, renderer.prompt_length):
        with pytest.raises(ValueError, match=re.escape(f"sample 'sly' has '{token}' in its text")):
            function(make_prompt(f"see {token}", *sizes, sample_id="sly"))


def test_completion_goes_to_ids_and_back(renderer):
    ids = renderer.encode_completion("x = 4")
    assert ids[-1] == renderer.tokenizer.eos_token_id
    assert renderer.decode(ids) == "x = 4"
    assert torch.equal(renderer.encode_completion("x = 4", end=False), ids[:-1])
