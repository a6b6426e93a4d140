"""Large runs stay within a stated memory: it grows by little with every row, and progress is shown."""

import pytest
from injection import THOROUGH

from benchmarks.load import CASES, Case, run

FEW, MANY = (1000, 10_000) if THOROUGH else (100, 600)
ROW_MB = 6 / 1000  # of an evaluated row: 600 MiB for 100,000 of them
SLACK_MB = 20


@pytest.mark.slow
def test_memory_grows_by_little_with_every_evaluated_row(inject, tmp_path):
    case = CASES["100,000 validation rows"]
    assert ROW_MB * case.prompts <= case.bound_mb
    with inject("large runs, memory bounded and progress shown", times=2):
        found = [measured(case, num, tmp_path / str(num)) for num in (FEW, FEW, MANY)]  # the first one imports
        assert found[2]["peak_mb"] - found[1]["peak_mb"] < ROW_MB * (MANY - FEW) + SLACK_MB, found
        assert found[2]["progress_lines"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.stage == "fit"])
def test_large_phases_stay_within_their_bound(inject, tmp_path, name):
    case = CASES[name]
    with inject("large runs, memory bounded and progress shown"):
        found = measured(case, case.prompts if THOROUGH else min(case.prompts, 4), tmp_path)
        assert found["peak_mb"] < case.bound_mb, found
        assert found["progress_lines"] > (1 if THOROUGH else 0)  # within the phase, and at its end


def measured(case: Case, num: int, folder) -> dict[str, float]:
    folder.mkdir(exist_ok=True)
    return run(case._replace(prompts=num, tokens=case.tokens if THOROUGH else min(case.tokens, 256)), folder)
