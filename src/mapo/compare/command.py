"""``mapo compare``: runs in, a report out, without a model."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mapo.compare.comparison import ALGORITHMS, Comparison, compare
from mapo.compare.figures import curves, differences
from mapo.compare.report import markdown, plain, text
from mapo.refusal import refuse

_DESCRIPTION = """Compare runs: accuracies by method with 95 % intervals over questions and seeds, paired differences,
and a sentence for each. A method is what runs have in common except for their seed; it is named after the file
in configs/algorithm/ that it follows."""

_EXAMPLES = """examples:
  mapo compare runs/mapo_tiny                                        every run below a folder
  mapo compare runs/a/version_0 runs/b/version_0 --reference grpo    hold the others against this method
  mapo compare runs/a --name "my reward" runs/b/version_3            a name of one's own for some runs
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        refuse(message)


def main(arguments: Sequence[str]) -> None:
    """Run the command; a wrong argument ends in one line and exit code 2.

    Args:
        arguments: Those after ``compare``.
    """
    given = _parser().parse_args(arguments)
    names = {path: name for name, *paths in given.name for path in paths}
    if missing := [name for name, *paths in given.name if not paths]:
        raise ValueError(f"--name {missing[0]}: the folders of its runs are missing")
    if not (given.runs or names):
        raise ValueError("no runs are named; start with: mapo compare runs/mapo_tiny")
    comparison = compare(
        given.runs, names=names, reference=given.reference, mode=given.mode, algorithms=given.algorithms
    )
    write_report(comparison, given.output)
    sys.stdout.write(f"{text(comparison)}\n\nreport  {given.output / 'report.md'}\n")


def write_report(
    comparison: Comparison, folder: Path, *, stem: str = "report", title: str = "Comparison", introduction: str = ""
) -> Path:
    """Write ``<stem>.md`` with its pictures, and ``<stem>.json``.

    Args:
        comparison: What is reported.
        folder: Made if missing.
        stem: Of all its files.
        title: Of the page.
        introduction: Markdown below it.

    Returns:
        The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"Learning curves": (f"{stem}_curves.png", curves(comparison))}
    if len(comparison.methods) > 1:
        drawn = {f"Difference to {comparison.reference}": (f"{stem}_differences.png", differences(comparison)), **drawn}
    for name, figure in drawn.values():
        figure.savefig(folder / name, dpi=120)
    path = folder / f"{stem}.md"
    figures = {words: name for words, (name, _) in drawn.items()}
    path.write_text(markdown(comparison, figures, title=title, introduction=introduction), "utf-8")
    (folder / f"{stem}.json").write_text(json.dumps(plain(comparison), indent=1) + "\n", "utf-8")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mapo compare",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="a run's folder, or one above several")
    parser.add_argument(
        "--name", nargs="+", action="append", default=[], metavar=("NAME", "RUN"), help="call the method of runs so"
    )
    parser.add_argument("--reference", metavar="NAME", help="hold the others against this method; the first one")
    parser.add_argument("--mode", choices=("sampled", "greedy"), help="which answers; sampled where there are some")
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="folder of the report; %(default)s")
    parser.add_argument(
        "--algorithms", type=Path, default=ALGORITHMS, help="folder of the YAML files that name methods; %(default)s"
    )
    return parser
