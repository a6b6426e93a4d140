"""What is imported when: a command that needs no model must not wait for one."""

import json
import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    """Return the names of the top-level modules that a fresh interpreter holds after some code."""
    program = f"{code}\nimport json, sys; sys.stderr.write(json.dumps([*sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(ran.stderr.splitlines()[-1])}


def test_importing_the_package_imports_nothing():
    added = modules_after("import mapo") - modules_after("import json")
    assert added == {"mapo"}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["supervised", "--help"]])
def test_light_commands_import_neither_torch_nor_lightning(arguments):
    added = modules_after(f"from mapo.__main__ import main; main({arguments})")
    assert not added & {"torch", "lightning", "transformers", "numpy", "jsonargparse", "PIL"}


def test_comparing_runs_imports_neither_torch_nor_lightning():
    code = "from mapo.__main__ import main\ntry:\n    main(['compare', 'nowhere'])\nexcept SystemExit:\n    pass"
    assert not modules_after(code) & {"torch", "lightning", "transformers", "jsonargparse", "matplotlib"}


@pytest.mark.slow
def test_help_of_a_command_imports_nothing_that_only_runs_need():
    code = "from mapo.__main__ import main\ntry:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass"
    assert not modules_after(code) & {"peft", "datasets", "math_verify", "tensorboard", "pandas", "scipy"}
