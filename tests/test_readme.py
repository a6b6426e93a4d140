"""What the README says holds: its commands run, its file tree and its demo's output are those of this package."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from documents import ROOT, blocks, run_command, write_files
from PIL import Image

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MAPO_COMMANDS = [
    (" ".join(words), block.reason)
    for block in blocks(README, "bash")
    for words in block.commands
    if words[:3] == ["python", "-m", "mapo"]
]
RUN_HERE = [command for command, reason in MAPO_COMMANDS if reason is None]
NOT_RUN = [command for command, reason in MAPO_COMMANDS if reason is not None]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: the configs, the README's own files, and data where the README looks for them."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "configs").symlink_to(ROOT / "configs")
    assert write_files(README, folder) == ["evaluation.yaml", "gsm8k.yaml", "my_rewards.py", "shows_work.yaml"]
    make_gsm8k(folder / "data" / "gsm8k")
    make_geometry3k(folder / "data" / "geometry3k")
    return folder


def make_gsm8k(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, num in (("train", 20), ("test", 4)):
        rows = [{"question": f"Add 3 to {i}.", "answer": f"{i} + 3 = {i + 3}\n#### {i + 3}"} for i in range(num)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def make_geometry3k(folder: Path) -> None:
    for split in ("train", "test"):
        problem = folder / split / "1"
        problem.mkdir(parents=True)
        Image.new("RGB", (56, 56), "white").save(problem / "img_diagram.png")
        row = {"id": 1, "annotat_text": "Find $x$.", "choices": ["1", "2", "3", "4"], "answer": "B"}
        (problem / "data.json").write_text(json.dumps(row), encoding="utf-8")


@pytest.fixture
def in_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkout)
    monkeypatch.syspath_prepend(str(checkout))  # as `python -m` does
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # seeding writes it; it is put back afterwards
    return checkout


def test_every_bash_block_is_a_known_kind_of_command() -> None:
    """A command of another kind would need a test of another kind."""
    kinds = {" ".join(words[:3]) for block in blocks(README, "bash") for words in block.commands if not block.reason}
    assert kinds == {"make demo", "make test", "make ablation", "python -m mapo"}
    assert len(RUN_HERE) > 6
    assert len(NOT_RUN) > 4


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN_HERE)
def test_command_runs(command: str, in_checkout: Path) -> None:
    """In order, since `validate` reads the checkpoint of the first fit."""
    run_command(command.split())


@pytest.mark.slow
@pytest.mark.parametrize("command", NOT_RUN)
def test_command_that_needs_gpus_is_accepted_and_planned(command: str, in_checkout: Path) -> None:
    run_command(command.split(), runs_here=False)


@pytest.mark.parametrize("target", ["demo", "test", "check", "fast", "docs", "ablation"])
def test_make_target_exists(target: str) -> None:
    dry = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
    assert {"demo": "configs/mapo_tiny.yaml", "docs": "mkdocs", "check": "mypy", "ablation": "benchmarks.ablation"}.get(
        target, "pytest"
    ) in dry.stdout


@pytest.mark.slow
def test_demo_ends_as_the_readme_shows(in_checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Figures move with the machine's rounding; the sets, the columns and the closing lines do not."""
    run_command(["python", "-m", "mapo", "fit", "--config", "configs/mapo_tiny.yaml"])
    printed = capfd.readouterr().out.partition("Closing summary of fit")[2]
    shown = re.search(r"<!-- output of: make demo -->\n```text\n(.*?)```", TEXT, re.S)
    assert shown
    assert shape(shown[1].partition("Closing summary of fit")[2]) == shape(printed)[: len(shape(shown[1])) - 1]


def shape(table: str) -> list[str]:
    """Return lines without their figures, their durations and the padding that depends on them."""
    timeless = re.sub(r"phases in .* s,", "phases,", table)
    return [re.sub(r"[\s\d.,%-]+|\+", " ", line).strip() for line in timeless.strip().splitlines()]


def listed(text: str) -> dict[str, str]:
    """Return the phrase of every file and folder that a document's tree of the package lists, by its path."""
    tree = re.search(r"```text\n(?:(?!```).)*?src/mapo/\n(.*?)```", text, re.S)
    assert tree
    phrases, folder = {}, ""
    for line in tree[1].splitlines():
        (name, _, phrase), depth = line.strip().partition(" "), (len(line) - len(line.lstrip())) // 2
        if depth == 0:
            break
        folder = folder if depth == 2 else name if name.endswith("/") else ""
        phrases[folder + name if depth == 2 else name] = phrase.strip()
    return phrases


def test_every_file_and_nothing_else_is_listed_with_a_phrase() -> None:
    package = ROOT / "src" / "mapo"
    files = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.name != "__init__.py"}
    folders = {f"{path.parent.relative_to(package)}/" for path in package.rglob("__init__.py")} - {"./"}
    in_all = listed((ROOT / "docs" / "files.md").read_text(encoding="utf-8"))
    assert set(in_all) == files | folders | {"policies/builtin_model/"}
    assert all(in_all.values())


def test_the_readme_lists_every_folder_as_the_documents_do() -> None:
    in_all = listed((ROOT / "docs" / "files.md").read_text(encoding="utf-8"))
    assert listed(TEXT) == {name: phrase for name, phrase in in_all.items() if name.count("/") == name.endswith("/")}


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert targets
    assert not missing


def test_method_configs_are_all_named() -> None:
    named = re.search(r"`configs/algorithm/`\{(.*?)\}", TEXT, re.S)
    assert named
    assert set(re.findall(r"`(\w+)`", named[1])) == {path.stem for path in (ROOT / "configs/algorithm").glob("*.yaml")}
