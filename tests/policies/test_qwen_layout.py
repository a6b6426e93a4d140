"""The renderer on a folder laid out as Qwen2.5-VL's on the Hub: vocabulary, special tokens, template, processor."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mapo.policies.companions import save_companions
from mapo.policies.policy import Policy
from mapo.policies.published import published_config
from mapo.types import Prompt

pytestmark = pytest.mark.slow

# In the order of their ids, from 151643 on; the last eight are ordinary added tokens there.
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
ADDED = [
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
]
FIRST, END_OF_TEXT, END_OF_TURN, IMAGE = 151_643, 151_643, 151_645, 151_655
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> Path:
    """Write the folder, without weights; words that no test uses fill the vocabulary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"unused{index}" for index in range(FIRST - len(letters)))]
    backend = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED])
    backend.save(str(folder / "tokenizer.json"))
    config = published_config("Qwen/Qwen2.5-VL-7B-Instruct")
    config.image_token_id, config.video_token_id = IMAGE, IMAGE + 1
    config.vision_start_token_id, config.vision_end_token_id = 151_652, 151_653
    config.save_pretrained(folder)
    write(folder / "chat_template.json", {"chat_template": TEMPLATE})
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "chat_template": TEMPLATE,
        },
    )
    write(
        folder / "preprocessor_config.json",
        {
            "min_pixels": 3136,
            "max_pixels": 12_845_056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    ends = [END_OF_TURN, END_OF_TEXT]
    write(folder / "generation_config.json", {"eos_token_id": ends, "pad_token_id": END_OF_TEXT, "temperature": 1e-6})
    return folder


def write(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def renderer(folder):
    """As configs/mapo_qwen.yaml has it."""
    return Policy(path=str(folder), min_pixels=262_144, max_pixels=4_194_304).load_renderer()


def question(*sizes: tuple[int, int]) -> Prompt:
    content = [*({"type": "image"} for _ in sizes), {"type": "text", "text": "Find $x$."}]
    images = tuple(Image.new("RGB", size, "white") for size in sizes)
    return Prompt("row", ({"role": "user", "content": content},), images, "", {})


def test_special_tokens_have_the_published_ids(renderer):
    ids = renderer.tokenizer.convert_tokens_to_ids([*SPECIAL, *ADDED])
    assert ids == list(range(FIRST, FIRST + 22))
    assert renderer.processor.image_token_id == IMAGE


@pytest.mark.parametrize(
    ("sizes", "image_tokens"),
    [
        ([], 0),
        ([(1008, 700)], 36 * 25),  # 28 x 28 pixels are a token
        ([(1000, 690)], 36 * 25),  # rounded
        ([(100, 100)], 19 * 19),  # enlarged to min_pixels
        ([(1008, 700), (560, 560)], 36 * 25 + 20 * 20),
    ],
)
def test_prompts_have_the_length_that_headers_tell(renderer, sizes, image_tokens):
    encoded = renderer.encode(question(*sizes))
    assert int((encoded.input_ids == IMAGE).sum()) == image_tokens
    assert renderer.prompt_length(question(*sizes)) == len(encoded.input_ids)
    text = renderer.tokenizer.decode([token for token in encoded.input_ids.tolist() if token != IMAGE])
    pictures = "<|vision_start|><|vision_end|>" * len(sizes)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{pictures}Find $x$.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_largest_picture_is_longer_than_the_papers_prompt(renderer):
    assert renderer.prompt_length(question((2044, 2044))) > 73 * 73 > renderer.max_prompt_tokens
    with pytest.raises(ValueError, match="max_pixels to 1"):
        renderer.encode(question((2044, 2044)))


def test_both_ends_end_and_no_other_special_token_is_sampled(renderer):
    assert renderer.eos_ids == (END_OF_TEXT, END_OF_TURN)
    assert set(renderer.banned_ids) == set(range(FIRST, FIRST + 22)) - {END_OF_TEXT, END_OF_TURN}
    assert renderer.pad_id == END_OF_TEXT
    completion = renderer.encode_completion("<think>2 + 2</think> \\boxed{4}")
    assert int(completion[-1]) == END_OF_TURN
    assert renderer.decode(completion) == "<think>2 + 2</think> \\boxed{4}"


def test_what_the_template_prefills_is_found(folder, renderer):
    assert renderer.prefill == ""
    thinking = TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    assert Policy(path=str(folder), chat_template=thinking).load_renderer().prefill == "<think>\n"


def test_companions_render_the_same_and_keep_the_full_processors_name(folder, renderer, tmp_path):
    save_companions(renderer, tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["processor_class"] == "Qwen2_5_VLProcessor"  # AutoProcessor goes by it
    assert settings["size"] == {"shortest_edge": 262_144, "longest_edge": 4_194_304}  # the policy's
    again = Policy(path=str(tmp_path)).load_renderer()
    prompt = question((1000, 690), (100, 100))
    assert again.encode(prompt).input_ids.tolist() == renderer.encode(prompt).input_ids.tolist()
    assert (again.eos_ids, again.banned_ids) == (renderer.eos_ids, renderer.banned_ids)
