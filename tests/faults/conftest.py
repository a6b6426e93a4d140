"""The table of faults at the end of a run of these tests, gathered from all workers."""

import pytest
from forks import Forks
from injection import PROPERTY, Tally, table, tallied


@pytest.fixture
def inject(request):
    """Open the injection of a fault: ``with inject("disk full while a log is written", times=3): ...``."""

    def open_injection(fault, times=1):
        return tallied(fault, times, lambda tally: request.node.user_properties.append((PROPERTY, list(tally))))

    return open_injection


@pytest.fixture(scope="module")
def forks():
    process = Forks()
    yield process
    process.close()


def pytest_terminal_summary(terminalreporter):
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    found = [
        Tally(*value) for r in reports if r.when == "call" for name, value in r.user_properties if name == PROPERTY
    ]
    if found:
        terminalreporter.section("faults")
        for line in table(found):
            terminalreporter.write_line(line)
