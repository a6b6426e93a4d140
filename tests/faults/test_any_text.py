"""What holds for every text, whoever wrote it: searched for by hypothesis, with the same examples in every run."""

import json
import unicodedata

import pytest
from hostile_text import CONTROLS, PIECES, as_json_has_it
from hypothesis import given, settings
from hypothesis import strategies as st
from injection import THOROUGH

from mapo.callbacks.json_lines import JsonLines
from mapo.callbacks.markdown import cell, shorten, table
from mapo.functional.visible import is_blank, one_line, visible
from mapo.rewards.answer_text import clean, key
from mapo.rewards.boxed import last_boxed
from mapo.rewards.equality import compare
from mapo.rewards.label import named_label
from mapo.rewards.math_answer import quick_verdict
from mapo.rewards.normal_form import normal_form
from mapo.rewards.think_format import is_think_format

pytestmark = pytest.mark.slow

characters = st.characters(exclude_categories=())  # lone surrogates, too
texts = st.lists(st.sampled_from((*PIECES, *CONTROLS)) | st.text(characters, max_size=5), max_size=12).map("".join)
CHOICES = ["42", "sadness", r"\frac{1}{2}"]


def anything(*strategies, times=100):
    """Draw the same examples in every run, and keep nothing of them."""
    chosen = settings(max_examples=3 * times if THOROUGH else times, derandomize=True, deadline=None, database=None)
    return lambda test: chosen(given(*strategies)(test))


@anything(texts, texts)
def test_a_boxed_text_is_found_behind_any_other(before, answer):
    found = last_boxed(before + r"\boxed{" + answer + "}")
    balanced = last_boxed(r"\boxed{" + answer + "}") == answer.strip()
    if balanced and r"\boxed" not in answer:
        assert found == answer.strip()


@anything(texts)
def test_every_answer_equals_itself_and_has_a_form(text):
    assert compare(text, text) is True
    assert isinstance(normal_form(text), str)
    assert key(text) == key(clean(text))


@anything(texts, texts, st.sampled_from(["letter", "text", "either"]))
def test_a_verdict_is_one_or_leaves_a_pair(gold, answer, graded_by):
    for metadata in ({}, {"choices": CHOICES, "graded_by": graded_by}, {"precision": 2}):
        verdict = quick_verdict(gold, answer, metadata)
        assert isinstance(verdict, bool | tuple)
        assert verdict == quick_verdict(gold, answer, metadata)


@anything(texts, st.sampled_from(["letter", "text", "either"]))
def test_a_label_is_one_of_the_classes(text, graded_by):
    named = named_label(text, labels=CHOICES, choices=CHOICES, graded_by=graded_by)
    assert named is None or named in {"42", "sadness", *(named_label(choice, labels=[]) for choice in CHOICES)}


@anything(texts)
def test_a_format_is_kept_or_not(text):
    assert is_think_format(f"<think>{text}</think>\\boxed{{1}}") is not any(
        tag in text for tag in ("<think>", "</think>")
    )


@anything(texts, st.integers(1, 40))
def test_what_is_shown_obeys_nobody(text, limit):
    for shown in (visible(text), one_line(text, limit), cell(text), shorten(visible(text), limit)):
        assert not [
            c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\u200c\u200d"
        ]
    assert table(["a"], [[text]]).count("\n") == 2
    assert is_blank(text) or visible(text)


@anything(st.lists(texts, max_size=4), times=50)
def test_rows_of_a_file_come_back_as_they_were(tmp_path_factory, rows):
    file = JsonLines(tmp_path_factory.mktemp("rows") / "rows.jsonl")
    file.append({"text": text, text: 1} for text in rows)
    written = file.path.read_text(encoding="utf-8").splitlines() if rows else []
    assert [json.loads(line) for line in written] == [{"text": text, text: 1} for text in map(as_json_has_it, rows)]
