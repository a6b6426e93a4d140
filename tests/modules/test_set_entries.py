"""A name wins over a pattern, the first pattern over the next."""

import pytest

from mapo.modules.set_entries import entry_of


@pytest.mark.parametrize(
    ("name", "entry"), [("mathvista", "by name"), ("mathverse_3d", "first pattern"), ("geo", "second pattern")]
)
def test_entry_of_a_set(name, entry):
    entries = {"math*": "first pattern", "*e*": "second pattern", "mathvista": "by name"}
    assert entry_of(entries, name) == entry


def test_no_entry_is_none():
    assert entry_of({"math*": 1}, "emotion") is None
