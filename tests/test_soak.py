"""The soak sees what grows, and its run does all that it says."""

import json

import pytest
from documents import ROOT


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def trace(**last):
    """Forty phases; what is named is that high over the last ten."""
    from benchmarks import soak

    flat = {"memory_mib": 500.0, "workers_mib": 60.0, "open_files": 10, "threads": 4, "children": 1}
    warm = {name: 3 * value for name, value in flat.items()}  # what the warm-up does is not looked at
    rows = [warm] * 20 + [flat] * 10 + [flat | last] * 10
    assert set(flat) == set(soak.VITALS)
    return [{"phase": phase} | row for phase, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("last", "grown"),
    [
        ({}, []),
        ({"memory_mib": 509.0}, []),
        ({"memory_mib": 511.0}, ["memory_mib"]),
        ({"open_files": 11, "children": 2}, ["open_files", "children"]),
        ({"threads": 3}, []),
    ],
)
def test_what_has_grown_is_found(last, grown):
    from benchmarks import soak

    assert [name for name in soak.VITALS if not soak.is_flat(trace(**last), name)] == grown


def test_vitals_are_those_of_this_process(tmp_path):
    from benchmarks import soak

    before = soak.vitals()
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert soak.vitals()["open_files"] == before["open_files"] + 2
    assert soak.vitals()["open_files"] == before["open_files"]
    assert before["memory_mib"] > 50


@pytest.mark.slow
def test_a_short_soak_trains_validates_judges_and_draws(tmp_path, monkeypatch, capsys):
    from benchmarks import soak

    monkeypatch.chdir(ROOT)
    code = soak.main(["--phases", "12", "--runs", str(tmp_path / "soak"), "--picture", str(tmp_path / "soak.png")])
    rows = [json.loads(line) for line in (tmp_path / "soak" / "vitals.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == list(range(12))
    assert max(row["children"] for row in rows) >= 1  # a worker has judged what only algebra can
    assert code == int(any(not soak.is_flat(rows, name) for name in soak.VITALS))
    assert "| child processes" in capsys.readouterr().out
    assert (tmp_path / "soak.png").stat().st_size > 10_000
