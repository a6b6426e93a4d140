"""Agreement with math-verify, mathruler and published verdicts on real answers; the tables are printed."""

import importlib
import json
import os
from pathlib import Path

import pytest
from documents import ROOT

EVERY = 3  # of the pairs that ``benchmarks/verdict_agreement.py`` judges


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def folder() -> Path:
    name = os.environ.get("MAPO_BENCHMARK_DATA")
    if not name:
        pytest.skip("MAPO_BENCHMARK_DATA is not set")
    return Path(name)


@pytest.mark.slow
@pytest.mark.benchmark_rows
def test_we_say_what_math_verify_and_mathruler_both_say(folder, capsys):
    pytest.importorskip("mathruler")
    module = importlib.import_module("benchmarks.verdict_agreement")
    rows = module.agreement(module.judge(module.build_pairs(folder)[::EVERY]))
    with capsys.disabled():
        print("\n" + module.report(rows))
    assert rows["all"]["common"] > 1000
    assert rows["all"]["both"] >= 0.97
    assert all(row["both"] is None or row["both"] >= 0.9 for row in rows.values())


@pytest.mark.benchmark_rows
def test_published_verdicts_are_ours_wherever_they_are_right(folder, capsys):
    module = importlib.import_module("benchmarks.recorded_verdicts")
    rows = module.recorded_answers(folder)
    found = module.differences(rows)
    with capsys.disabled():
        print(f"\n{len(rows)} recorded answers, {len(found)} differences:", *found, sep="\n")
    assert {difference.who for difference in found} <= {"ours right", "ambiguous"}
    assert len(found) <= 0.05 * len(rows)


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("42", "integers"),
        ("1,000", "integers"),
        ("4.5", "decimals"),
        (r"\frac{1}{2}", "fractions"),
        (r"2\sqrt{2}", "radicals and π"),
        (r"145^\circ", "units"),
        (r"28\%", "percent"),
        (r"\text{(C)}", "choice letters"),
        (r"\text{odd}", "text"),
        ("First walk 200m north, then 300m east", "text"),
        ("1, -2", "sets, lists, intervals"),
        (r"[0, 1) \cup (2, 3)", "sets, lists, intervals"),
        ("(1, 2)", "tuples"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "matrices"),
        ("x = 5", "equations"),
        ("64a^6", "expressions"),
    ],
)
def test_golds_are_put_into_classes(gold, kind):
    assert importlib.import_module("benchmarks.verdict_agreement").kind_of(gold) == kind


@pytest.mark.slow
def test_the_throughput_benchmark_runs_on_its_own_list(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("MAPO_BENCHMARK_DATA", raising=False)
    module = importlib.import_module("benchmarks.verifier")
    module.main(["--batches", "2", "--json", str(tmp_path / "out.json")])
    assert "the whole mix" in capsys.readouterr().out
    rates = json.loads((tmp_path / "out.json").read_text())["rates"]
    assert all(rate > 0 for ways in rates.values() for rate in ways.values())
