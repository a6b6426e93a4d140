"""The benchmark of rollouts runs at toy size, and its ways do the same work."""

import importlib
import json

import pytest
from documents import ROOT

from mapo.policies.policy import Policy


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.rollout")


def toy(benchmark, folder, name, num_prompts=3):
    case = benchmark.Case.parse(name)
    benchmark.build_model(case.kind, benchmark.SIZES["toy"], folder)
    policy = Policy(path=str(folder)).load_model(reference=False)
    return benchmark.Rollout(policy, case, num_prompts=num_prompts)


@pytest.mark.parametrize("name", ["text-p24-c9-g2", "text-p24-c40-g4-ragged", "vl-p24-c9-g2"])
def test_ways_do_the_same_work(benchmark, tmp_path, name):
    rollout = toy(benchmark, tmp_path, name)
    case = rollout.case
    assert benchmark.same_tokens(rollout) == 1.0
    for way in benchmark.WAYS:
        lengths = [len(ids) for ids in rollout.run(way)]
        assert len(lengths) == 3 * case.group_size
        assert max(lengths) <= case.completion_tokens
        assert (min(lengths) == case.completion_tokens) is not case.ragged


def test_ways_that_differ_are_refused(benchmark, tmp_path, monkeypatch):
    rollout = toy(benchmark, tmp_path, "text-p24-c9-g2")
    generate = rollout._generate
    monkeypatch.setattr(rollout, "_generate", lambda temperature: [ids[1:] for ids in generate(temperature)])
    with pytest.raises(RuntimeError, match=r"agree on 50\.0%"):  # our own samples are the same as ever
        benchmark.same_tokens(rollout)


@pytest.mark.slow
def test_one_table_and_its_readings(benchmark, tmp_path, capsys):
    file, cases = tmp_path / "result.json", ["text-p24-c5-g2", "vl-p24-c5-g2-ragged"]
    benchmark.main(["--cases", *cases, "--rounds", "2", "--size", "toy", "--json", str(file)])
    header, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows] == cases
    assert {len(row) for row in rows} == {len(header)}
    for case in json.loads(file.read_text())["cases"]:
        assert case["ratios"]["lean"] == 1.0
        assert all(case["peak_mib"][way] > 0 for way in benchmark.WAYS)
        assert len(case["rounds"]) == 2


def test_a_case_is_read_from_its_name(benchmark):
    assert benchmark.Case.parse("vl-p300-c64-g8-ragged") == benchmark.Case("vl", 300, 64, 8, True)
    with pytest.raises(ValueError, match="text-p256-c64-g8"):
        benchmark.Case.parse("text-p256-c64")
