from PIL import Image

from mapo.callbacks.image_grid import image_grid
from mapo.types import Prompt


def prompt(sample_id, *images, answer="2"):
    return Prompt(sample_id, (), images, answer, {})


def drawn(figure) -> list[bytes]:
    figure.canvas.draw()
    return [bytes(axes.images[0].get_array().data) for axes in figure.axes if axes.images]


def test_every_image_has_its_place_and_caption():
    red, blue = Image.new("RGB", (9, 5), "red"), Image.new("RGB", (5, 9), "blue")
    figure = image_grid([prompt("a", red, blue, answer="$3"), prompt("b", red)])
    assert drawn(figure) == [image.tobytes() for image in (red, blue, red)]
    captions = [axes.get_title() for axes in figure.axes]
    assert captions == ["a image 1 of 2, answer $3", "a image 2 of 2, answer $3", "b, answer 2"]


def test_a_large_image_is_shown_small_and_left_as_it_was():
    large = Image.new("RGB", (2048, 1024))
    axes = image_grid([prompt("a", large)]).axes[0]
    assert axes.images[0].get_array().shape[:2] == (256, 512)
    assert large.size == (2048, 1024)


def test_an_image_that_cannot_be_read_says_so(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    figure = image_grid([prompt("a", tmp_path / "broken.png")])
    assert figure.axes[0].texts[0].get_text() == "cannot be read"


def test_prompts_without_images_have_no_grid():
    assert image_grid([prompt("a")]) is None
