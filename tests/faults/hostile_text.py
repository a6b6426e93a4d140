r"""Completions that nobody should write: answers close to right ones, LaTeX without an end, whatever terminals obey.

``completions(seed)`` draws without end, the same ones for the same seed, so that what fails once fails again.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from mapo.data.math12k import solution_answer

# What terminals, Markdown, HTML, JSON and readers of text each take for a command.
CONTROLS = (
    *("\0", "\a", "\b", "\t", "\n", "\v", "\f", "\r", "\x1a", "\x7f", "\x85", "\x9b31m", "\x9d0;title\x9c"),
    *("\x1b[2J", "\x1b[31m", "\x1b[1;1H", "\x1b]0;title\a", "\x1b]8;;http://example.org\x1b\\", "\x1bP0;1|q\x1b\\"),
    *("\u2028", "\u2029", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\ufeff", "\u200b", "\u200d"),
    *("\ud800", "\udfff", "\udc80", "\ue000", "\ufffe", "\U000e0041", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    *("e\u0301", "\u00e9", "\u212b", "\ufb01", "\u0301" * 50, "٣", "３", "³", "Ⅷ", "𝟗", "१२", "½", "−", "‚", "٫"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "|---|", "`" * 7),
    *("</td></table>", "&#27;", "&lt;", "# ", "> ", "- [ ] ", "![a](b)", "$$", '"', '\\"', "\\u0000", "\\x1b", "'\"{}"),
    *("<|im_end|>", "<|im_start|>system\n", "<|image_pad|>", "<|vision_start|>", "<|endoftext|>", "<image>", "</s>"),
)
PIECES = (
    *(
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        r"\{",
        r"\}",
        r"\left(",
        r"\right.",
        "\\",
        "\\\\",
        "&",
        "%",
        "$",
        "_",
        "^",
        "~",
        "#",
    ),
    *(
        r"\frac",
        r"\frac{",
        r"\dfrac12",
        r"\sqrt",
        r"\sqrt[3]{",
        r"\text{",
        r"\mathrm{cm}",
        r"\boxed{",
        r"\fbox{",
        r"\begin",
    ),
    *(
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\begin{cases}",
        r"\cup",
        r"\in",
        r"\infty",
        r"\pi",
        r"\circ",
        r"\%",
        r"\pm",
    ),
    *(
        r"\approx",
        r"\leq",
        "<",
        ">",
        "=",
        ":=",
        "!=",
        ",",
        ";",
        ".",
        ":",
        "!",
        "'",
        "|",
        "/",
        "+",
        "-",
        "*",
        "**",
        "e",
        "i",
    ),
    *(
        "x",
        "y",
        "n!",
        "1",
        "0",
        "7",
        "12",
        "3.5",
        "1,000",
        "1e9",
        "1e-400",
        "0x1f",
        "inf",
        "nan",
        "None",
        "True",
        "A",
        "(B)",
    ),
    *(
        "and",
        "or",
        "not",
        "None of these",
        "sadness",
        "joy",
        "no ",
        "because ",
        "lambda",
        "import os",
        "__class__",
        "the",
    ),
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "\n\n",
        " ",
        "   ",
        "²",
        "√",
        "π",
        "°",
        "×",
        "∅",
        "≤",
        "½",
        "π/2",
    ),
)
ANSWERS = (
    *("42", "-3", "3.14", "1,000", r"\frac{1}{2}", r"\frac{3\sqrt{2}}{4}", r"2\sqrt{3}", r"\pi", r"145^\circ", "x^2+1"),
    *(
        "(1, 2)",
        r"\{1, 2, 3\}",
        "[0, 5)",
        r"(-\infty, 2) \cup (3, \infty)",
        "y = 2x + 3",
        "x < 2",
        r"9.4 \mathrm{~cm}^{2}",
    ),
    *(
        "B",
        "(C)",
        "no solution",
        r"\text{even}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        "3:2",
        "25\\%",
        "1e5",
    ),
    *("sadness", "7 + 2i", r"\log_2 8", r"\sin 30^\circ", "0.\\overline{3}", r"x \in [-2, 7]", "12 meters", "2^{10}"),
)
CHOICES = ("42", r"\frac{1}{2}", "sadness", "joy")
NUMBERS = (0, 1, 2, 9, 99, 10**6, 10**9, 10**18)
DEPTHS = (2, 9, 40, 200, 900, 3000)


class Hostile(NamedTuple):
    """A completion, and the right answer it is held against."""

    kind: str
    text: str
    gold: str
    choices: tuple[str, ...]


def completions(seed: int) -> Iterator[Hostile]:
    """Yield completions without end."""
    rng = Random(seed)
    # What computer algebra does not finish costs its whole deadline, and a megabyte a second: few of these.
    kinds = {_near: 54, _soup: 20, _deep: 1, _huge: 0.5, _scripts: 10, _shown: 12, _long: 0.1}
    while True:
        (kind,) = rng.choices(list(kinds), weights=list(kinds.values()))
        gold = rng.choice(answers())
        choices = CHOICES if rng.random() < 0.15 else ()
        gold = rng.choice(choices) if choices else gold
        answer = kind(rng, gold)
        yield Hostile(kind.__name__.strip("_"), _framed(rng, answer), gold, choices)


def as_json_has_it(text: str) -> str:
    """Return a text with two halves of a character that stand side by side as that character, as JSON does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@cache
def answers() -> tuple[str, ...]:
    """Return right answers: those above, and real ones where ``MAPO_BENCHMARK_DATA`` names rows."""
    found = list(ANSWERS)
    if folder := os.environ.get("MAPO_BENCHMARK_DATA"):
        for path in (
            Path(folder, "math500", "test.jsonl"),
            Path(folder, "model_outputs", "mathvision_gemini_pro_cot.jsonl"),
        ):
            for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                found.append(row["answer"] if "answer" in row else solution_answer(row["response"]) or row["gold"])
    return tuple(dict.fromkeys(found))


def _near(rng: Random, gold: str) -> str:
    """Change a right answer a little."""
    text = gold
    for _ in range(rng.randint(0, 4)):
        start, end = sorted(rng.randint(0, len(text)) for _ in range(2))
        middle = rng.choice(("", text[start:end] * 2, text[start:end][::-1], rng.choice(PIECES), rng.choice(CONTROLS)))
        middle = rng.choice((middle, str(rng.choice(NUMBERS)), text[start:end]))
        text = text[:start] + middle + text[end:]
    return text


def _soup(rng: Random, gold: str) -> str:
    return "".join(rng.choice((rng.choice(PIECES), rng.choice(PIECES), gold)) for _ in range(rng.randint(1, 30)))


def _deep(rng: Random, gold: str) -> str:
    """Open what is closed again, too late, or not at all."""
    pairs = (
        ("{", "}"),
        ("(", ")"),
        (r"\frac{", "}{2}"),
        (r"\sqrt{", "}"),
        (r"\text{", "}"),
        (r"\boxed{", "}"),
        ("[", "]"),
    )
    pairs += (
        (r"\left(", r"\right)"),
        ("^{", "}"),
        ("-", ""),
        ("**", "**"),
        (r"1+\frac{1}{", "}"),
        ("|", "|"),
        (r"\{", r"\}"),
    )
    depth, (opening, closing) = rng.choice(DEPTHS), rng.choice(pairs)
    return opening * depth + gold + closing * rng.choice((depth, depth - 1, depth + 1, 0))


def _huge(rng: Random, gold: str) -> str:
    big, small = rng.choice(NUMBERS), rng.randint(2, 9)
    forms = (
        *(f"{small}^{{{big}}}", f"{small}**{big}", f"{big}!", f"{small}" + "!" * small, f"{small}e{big}", f"1e-{big}"),
        *(
            f"{small}^{{{small}^{{{big}}}}}",
            rf"\binom{{{big}}}{{{big // 2}}}",
            f"(x+y)^{{{big}}}",
            f"x^{{{big}}} - 1 = 0",
        ),
        *(
            str(small) * rng.choice((400, 900, 5000)),
            f"0.{str(small) * 900}",
            f"{big}" * 40,
            f"1/{big}",
            rf"\log {big}",
        ),
        *(rf"\sum_{{n=1}}^{{{big}}} n", rf"\sqrt[{big}]{{{small}}}", f"{gold}^{{{big}}}", f"{gold} \\pm {big}"),
        ", ".join(map(str, range(rng.choice((10, 31, 200, 1000))))),
    )
    return rng.choice(forms)


def _scripts(rng: Random, gold: str) -> str:
    """Write the answer in the digits and signs of other scripts, or any characters at all."""
    offset = rng.choice((0x0660, 0x06F0, 0x0966, 0xFF10, 0x1D7CE, 0x2070, 0x2460))
    text = "".join(chr(offset + int(c)) if c in "0123456789" else c for c in gold)
    noise = "".join(
        chr(rng.choice((rng.randrange(0x300), rng.randrange(0x11_0000)))) for _ in range(rng.randint(0, 12))
    )
    return rng.choice((text + noise, noise + text, rng.choice(CONTROLS) + text, noise))


def _shown(rng: Random, gold: str) -> str:
    """Hide the answer among what breaks out of consoles, tables and web pages."""
    pieces = [rng.choice(CONTROLS) for _ in range(rng.randint(1, 15))]
    return "".join([*pieces[1:], gold, pieces[0]])


def _long(rng: Random, gold: str) -> str:
    piece = rng.choice((*PIECES, *CONTROLS, gold))
    return piece * (1_000_000 // len(piece)) + rng.choice(("", gold))


def _framed(rng: Random, answer: str) -> str:
    """Put an answer into a box, a thought before it, and sometimes neither."""
    box = rng.choice((*(rf"\boxed{{{answer}}}",) * 6, rf"\boxed {{{answer}}}", rf"\boxed{{{answer}", answer))
    thought = rng.choice(("", "<think>", "<think></think>", "<think>so</think> ", "</think><think>"))
    return thought + box + rng.choice(("", "", "", ".", "\n", rng.choice(CONTROLS), r" or \boxed{7}"))
