import io

import pytest
from PIL import Image

from mapo.policies.images import image_size, open_image


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
