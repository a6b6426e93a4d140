"""Tiny random models in the Hugging Face layout, shared by all tests, and the table of faults at their end."""

import logging
import signal
import string
from pathlib import Path

import pytest
import torch
from injection import NOTE, PROPERTY, Tally, table
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from mapo.types import Prompt

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pytest_configure() -> None:
    """Let Ctrl-C end what the tests start: a shell that runs the suite in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def make_tokenizer():
    """One token per printable character, and the chat and vision tokens of Qwen2.5-VL."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {character: index for index, character in enumerate(["<unk>", *string.printable[:96], "\n"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def text_settings(tokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "initializer_range": 0.15,  # wide enough that the next token depends visibly on the context
    }


def save_model(model, tokenizer, folder: Path) -> None:
    end, pad = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>"))
    model.generation_config.eos_token_id = [end, pad]
    model.generation_config.pad_token_id = pad
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_vl_path(tmp_path_factory) -> Path:
    """A random Qwen2.5-VL of 0.2 M parameters in fp32: 14-pixel patches, 28-pixel image tokens."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    folder = tmp_path_factory.mktemp("tiny_vl")
    tokenizer = make_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config=text_settings(tokenizer)
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.3,
        },
        **{
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"),
                ("video", "video_pad"),
                ("vision_start", "vision_start"),
                ("vision_end", "vision_end"),
            )
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(Qwen2_5_VLForConditionalGeneration(config), tokenizer, folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=16 * 28 * 28).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_tokenizer():
    return make_tokenizer()


@pytest.fixture
def tiny_text_settings(tiny_tokenizer) -> dict:
    """Settings of a decoder that most architectures take."""
    return text_settings(tiny_tokenizer)


@pytest.fixture
def save_tiny(tmp_path, tiny_tokenizer):
    """Save a model with the tokenizer of the other fixtures, and return the folder."""

    def save(model, image_processor=None) -> Path:
        save_model(model, tiny_tokenizer, tmp_path)
        if image_processor is not None:
            image_processor.save_pretrained(tmp_path)
        return tmp_path

    return save


@pytest.fixture(scope="session")
def tiny_lm_path(tmp_path_factory) -> Path:
    """A random Qwen2 language model with the same tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny_lm")
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(Qwen2ForCausalLM(Qwen2Config(**text_settings(tokenizer))), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def make_prompt():
    """Build a prompt of one user message from a text and the (width, height) of its noise images."""

    def make(text: str, *sizes: tuple[int, int], sample_id: str = "row", answer: str = "") -> Prompt:
        images = tuple(noise_image(size, seed) for seed, size in enumerate(sizes))
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
        return Prompt(sample_id, ({"role": "user", "content": content},), images, answer, {})

    return make


def noise_image(size: tuple[int, int], seed: int) -> Image.Image:
    width, height = size
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """A test that plays one of several ranks or silences a logger leaves nothing of that to the next one."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def pytest_terminal_summary(terminalreporter):
    """Print what all workers said of the faults that they injected."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    found = [
        Tally(*value) for r in reports if r.when == "call" for name, value in r.user_properties if name == PROPERTY
    ]
    if found:
        terminalreporter.section("faults")
        notes = [
            value
            for report in reports
            for name, value in report.user_properties
            if name == NOTE and report.when == "call"
        ]
        for line in [*table(found), *notes]:
            terminalreporter.write_line(line)
