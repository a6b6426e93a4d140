import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mapo.policies.images import image_size, open_image
from mapo.policies.policy import Policy
from mapo.types import Prompt


def encoded(image, **settings):
    buffer = io.BytesIO()
    image.save(buffer, **settings)
    return {"bytes": buffer.getvalue(), "path": "picture.bin"}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb_with_its_size(mode, tmp_path):
    image = Image.new("RGB", (7, 3), (10, 200, 30)).convert(mode)
    path = tmp_path / "picture"
    image.save(path, format="TIFF" if mode == "CMYK" else "PNG")
    for source in (image, path, str(path), {"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": path}):
        opened = open_image(source)
        assert (opened.mode, opened.size) == ("RGB", (7, 3))
        assert image_size(source) == (7, 3)


def test_transparent_parts_turn_white_not_black():
    drawing = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    drawing.putpixel((1, 0), (0, 0, 0, 255))
    opened = open_image(encoded(drawing, format="PNG"))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_picture_and_size_alike(orientation, kind):
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = encoded(image, format=kind, exif=exif)
    assert open_image(source).size == image_size(source) == ((10, 20) if orientation > 4 else (20, 10))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("no/such/file.png", "no/such/file.png"),
        ({"bytes": b"not an image", "path": "row7.png"}, "row7.png"),
        ({"bytes": None, "path": None}, "an image held in memory"),
        (42, "got int"),
    ],
)
def test_unreadable_images_are_named(source, name):
    for function in (open_image, image_size):
        with pytest.raises(ValueError, match=name) as error:
            function(source)
        assert "replace or remove" in str(error.value)


def test_truncated_file_is_an_error_of_decoding_alone():
    source = encoded(Image.effect_noise((64, 64), 80), format="PNG")
    source["bytes"] = source["bytes"][: len(source["bytes"]) // 2]
    assert image_size(source) == (64, 64)
    with pytest.raises(ValueError, match=r"picture\.bin"):
        open_image(source)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_and_not_cut_off(dtype, tmp_path):
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=dtype)).save(path)
    assert [open_image(path).getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_pixels_of_an_unknown_range_are_refused(tmp_path):
    path = tmp_path / "float.tiff"
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(path)
    with pytest.raises(ValueError, match=r"float\.tiff: its pixels are floating-point numbers"):
        open_image(path)


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (5, 4), color) for color in ("red", "blue")]
    source = encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    assert open_image(source).getpixel((0, 0)) == (255, 0, 0)


def test_a_wrong_extension_does_not_matter(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (9, 6), "red").save(path, format="JPEG")
    assert image_size(path) == open_image(path).size == (9, 6)


def test_a_decompression_bomb_is_refused_by_its_header():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    source = {"bytes": data, "path": "bomb.png"}
    for function in (open_image, image_size):
        with pytest.raises(ValueError, match=r"bomb\.png.*decompression bomb"):
            function(source)


@pytest.mark.parametrize(
    ("size", "words"), [((1, 1), None), ((20_000, 40), "row-7.*aspect ratio"), ((20_000, 400), None)]
)
def test_extreme_sizes_are_fitted_or_refused_by_name_and_measured_alike(size, words):
    renderer = Policy(max_prompt_tokens=100_000).load_renderer()
    message = {"role": "user", "content": ({"type": "image"}, {"type": "text", "text": "area ?"})}
    prompt = Prompt("row-7", (message,), (Image.new("L", size),), "1", {})
    if words is None:
        assert len(renderer.encode(prompt).input_ids) == renderer.prompt_length(prompt)
    else:
        for function in (renderer.encode, renderer.prompt_length):
            with pytest.raises(ValueError, match=words):
                function(prompt)
