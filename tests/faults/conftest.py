"""The table of faults at the end of a run of these tests, gathered from all workers."""

import pytest
from forks import Forks
from injection import NOTE, PROPERTY, Tally, table, tallied
from undisturbed import FIT


@pytest.fixture
def inject(request):
    """Open the injection of a fault: ``with inject("disk full: a log", times=3): ...``."""

    def open_injection(fault, times=1):
        return tallied(fault, times, lambda tally: request.node.user_properties.append((PROPERTY, list(tally))))

    return open_injection


@pytest.fixture(scope="session")
def forks():
    process = Forks()
    yield process
    process.close()


@pytest.fixture(scope="session")
def undisturbed(forks, tmp_path_factory):
    """Return the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert forks.run(folder, *FIT) == 0, (folder / "output.txt").read_text()
    return folder


def pytest_terminal_summary(terminalreporter):
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    found = [
        Tally(*value) for r in reports if r.when == "call" for name, value in r.user_properties if name == PROPERTY
    ]
    if found:
        terminalreporter.section("faults")
        notes = [
            value
            for report in reports
            for name, value in report.user_properties
            if name == NOTE and report.when == "call"
        ]
        for line in [*table(found), *notes]:
            terminalreporter.write_line(line)
