"""The words of jsonargparse, one pattern each; tests/test_bad_input.py goes through the real parser."""

import pytest

from mapo.advantages.mixed import MixedAdvantage
from mapo.argument_errors import explain

OPTIONS = ["config", "model.group_size", "model.advantage", "trainer.logger.help"]


@pytest.mark.parametrize(
    ("message", "arguments", "line"),
    [
        ("something nobody foresaw:\n  in two lines", [], "something nobody foresaw: in two lines"),
        (
            "Parser key \"a.b\": Expected a <class 'int'>. Got value: x",
            ["--a.b", "x"],
            "--a.b: expected int, got 'x'",
        ),
        ('Parser key "a.b":\n  not one of ours', [], "a.b: not one of ours"),
        (
            "Parser key \"a\": Expected a typing.Literal['k1', 'k2']. Got value: k4",
            [],
            "a: expected one of 'k1', 'k2', got 'k4'",
        ),
        ("unrecognized arguments: --nothing.like.it=3", ["--nothing.like.it=3"], "unknown argument --nothing.like.it"),
        ("Option 'weird' is not accepted", [], "unknown argument weird"),
        (
            "the following arguments are required: fit.data",
            [],
            "--data missing; start from a file that has all, such as --config configs/mapo_tiny.yaml",
        ),
    ],
)
def test_words_of_the_parser(message, arguments, line):
    assert explain(message, arguments, OPTIONS) == line


def test_arguments_of_a_class_that_accepts_them_are_not_blamed(tmp_path):
    """Two components have the key, and one of them rightly."""
    file = tmp_path / "two.yaml"
    file.write_text(
        "model:\n  loss: {class_path: mapo.losses.clipped.ClippedPolicyLoss, init_args: {eps: 1}}\n"
        "  advantage: {class_path: MixedAdvantage, init_args: {eps: 1}}\n"
    )
    line = explain(
        "Option 'eps' is not accepted", ["--config", str(file)], ["help"], {"MixedAdvantage": MixedAdvantage}
    )
    assert line.startswith(f"unknown argument model.loss.eps in {file}, line 2; ClippedPolicyLoss takes clip_low")


def test_a_value_is_found_where_it_was_written(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text("a:\n  x: {eps: big}\n  y: {eps: 1}\n")
    line = explain("Parser key \"eps\": Expected a <class 'float'>. Got value: big", ["-c", str(file)], OPTIONS)
    assert line == f"a.x.eps in {file}, line 2: expected float, got 'big'"
