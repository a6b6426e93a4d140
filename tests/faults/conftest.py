"""What the tests of faults share; their table is printed by ``tests/conftest.py``."""

import pytest
from forks import Forks
from injection import PROPERTY, tallied
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
