"""Pictures of every kind that data sets hold: read as RGB, or refused in one line."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mapo.callbacks.image_grid import image_grid
from mapo.data.jsonl import JSONL
from mapo.policies.policy import Policy


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def bomb() -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


RED = Image.new("RGB", (60, 40), "red")
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (60, 40), "blue")] * 3}
READ = {
    "one pixel": ("1.png", saved(Image.new("RGB", (1, 1), "red"), "png")),
    "20,000 pixels wide": ("1.png", saved(Image.new("L", (20_000, 400)), "png")),
    "animated GIF": ("1.gif", saved(RED, "gif", **FRAMES)),
    "animated WebP": ("1.webp", saved(RED, "webp", **FRAMES)),
    "wrong extension": ("1.png", saved(RED, "jpeg")),
    "CMYK": ("1.jpg", saved(RED.convert("CMYK"), "jpeg")),
    "16 bits": ("1.png", saved(Image.fromarray(np.full((40, 60), 40_000, np.uint16)), "png")),
    "one bit": ("1.png", saved(RED.convert("1"), "png")),
    "palette with a transparent colour": ("1.png", saved(RED.convert("P"), "png", transparency=0)),
}
REFUSED = {
    "decompression bomb": ("1.png", bomb(), "decompression bomb"),
    "20,000 pixels by one": ("1.png", saved(Image.new("L", (20_000, 1)), "png"), "aspect ratio"),
    "cut off": ("1.png", saved(Image.effect_noise((300, 300), 90), "png")[:900], "truncated"),
    "empty file": ("1.png", b"", "cannot identify"),
    "no picture": ("1.png", b"\x1b]0;title\x07" * 100, "cannot identify"),
    "text in SVG": ("1.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot identify"),
    "floating point": ("1.tiff", saved(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "tiff"), "unknown range"),
}


@pytest.fixture(scope="module")
def renderer():
    return Policy(max_prompt_tokens=100_000).load_renderer()


@pytest.fixture
def asked(tmp_path, renderer):
    """Return the prompt of a file of one question with this picture, after all that a run does before its start."""

    def ask(name: str, content: bytes):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "own.jsonl").write_text(json.dumps({"question": "Which?", "answer": "4", "images": name}))
        data = JSONL(evaluation={"own": str(tmp_path / "own.jsonl")})
        data.setup("validate")
        prompt = data.eval_sets["own"][0]
        assert image_grid([prompt]) is not None  # shown, whether or not it can be read
        return prompt, renderer.prompt_length(prompt)

    return ask


def test_pictures_are_read_and_measured_alike(asked, renderer, inject):
    with inject("hostile pictures", times=len(READ)):
        for kind, (name, content) in READ.items():
            prompt, length = asked(name, content)
            encoded = renderer.encode(prompt)
            assert len(encoded.input_ids) == length, kind
            assert bool(encoded.features["pixel_values"].isfinite().all()), kind


def test_pictures_that_cannot_be_read_are_named(asked, renderer, inject):
    with inject("hostile pictures", times=len(REFUSED)):
        for kind, (name, content, words) in REFUSED.items():
            with pytest.raises(ValueError, match=rf"line-1.*{words}") as told:
                renderer.encode(asked(name, content)[0])
            assert str(told.value).isprintable(), kind
