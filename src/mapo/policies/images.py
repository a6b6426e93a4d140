"""Pictures as data sets store them, opened as the RGB image a processor expects."""

from collections.abc import Mapping
from io import BytesIO
from os import PathLike, fspath
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 turn the picture by a quarter
_QUARTER_TURNS = (5, 6, 7, 8)


def open_image(source: Any) -> Image.Image:
    """Decode a picture to RGB, turned upright as its EXIF says, transparent parts on white.

    Of an animation it is the first frame; 16 bits per pixel are scaled to 8.

    Args:
        source: A PIL image, a file path, or ``{"bytes": ..., "path": ...}`` as ``datasets`` stores it.

    Raises:
        ValueError: The source cannot be decoded, or its pixels have no known range; the message names it.

    Example:
        >>> open_image(Image.new("RGBA", (2, 1))).getpixel((0, 0))
        (255, 255, 255)
    """
    try:
        image = _open(source)
        return _flatten(ImageOps.exif_transpose(image) if _orientation(image) != 1 else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL's decoders raise
        raise ValueError(_unreadable(source, error)) from error


def image_size(source: Any) -> tuple[int, int]:
    """Return (width, height) in pixels of what ``open_image`` would give, from the header alone.

    Raises:
        ValueError: The source has no readable header; the message names it.
    """
    try:
        image = _open(source)
        width, height = image.size
        turned = _orientation(image) in _QUARTER_TURNS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(_unreadable(source, error)) from error
    return (height, width) if turned else (width, height)


def _open(source: Any) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, Mapping):
        data = source.get("bytes")
        return Image.open(BytesIO(data)) if data is not None else _open(source.get("path"))
    if isinstance(source, str | PathLike):
        return Image.open(fspath(source))
    raise ValueError(f"got {type(source).__name__}")


def _orientation(image: Image.Image) -> int:
    if isinstance(image, PngImageFile) and "exif" not in image.info:
        return 1  # PIL would decode the whole picture to look for an orientation behind it
    return int(image.getexif().get(_ORIENTATION, 1))


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # Line drawings are often black on transparent; dropping alpha would make them black on black.
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of an unknown range; save it with 8 bits per channel")
    if image.mode.startswith("I"):  # PIL would cut 16 bits off at 255, which makes nearly all of a picture white
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    return image.convert("RGB")


def _unreadable(source: Any, error: Exception) -> str:
    name = source.get("path") if isinstance(source, Mapping) else source
    name = name if isinstance(name, str | PathLike) else "an image held in memory"
    return (
        f"cannot read the image {name}: {error}. Expected a PIL image, the path of an image file, or "
        "{'bytes': ..., 'path': ...}; replace or remove the file"
    )
