"""Agreement of our verdicts with those of math-verify and mathruler, class by class of the gold answer.

    MAPO_BENCHMARK_DATA=<folder> python -m benchmarks.verdict_agreement --json agreement.json

Pairs are real golds (the texts of choices included) against themselves in other spellings, against other golds of their
class and of others, against themselves with one digit changed, and against recorded model answers. Both libraries judge
every pair with their own rule and their own settings; a verdict that fails there is left out and counted.
"""

import argparse
import logging
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.real_answers import data_folder, golds, recorded_answers, spellings
from benchmarks.report import table, write_json
from mapo.rewards.answer_text import clean, unwrap
from mapo.rewards.choices import choices_of
from mapo.rewards.equality import compare
from mapo.rewards.quantity import parse_number, split_unit
from mapo.rewards.structure import listing, matrix, relation
from mapo.rewards.verifier import Verifier

Pair = tuple[str, str]
CLASSES = (
    "integers", "decimals", "fractions", "radicals and π", "units", "percent", "choice letters", "text",
    "sets, lists, intervals", "tuples", "matrices", "equations", "expressions",
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A pair with all verdicts; None is a failed one."""

    pair: Pair
    kind: str
    ours: bool | None
    math_verify: bool | None
    mathruler: bool | None

    @property
    def common(self) -> bool | None:
        """What both libraries say; None where they differ or one failed."""
        return self.math_verify if self.math_verify is self.mathruler else None


def kind_of(gold: str) -> str:
    """Return the class of a gold answer."""
    text = clean(gold)
    if matrix(text) is not None:
        return "matrices"
    if re.fullmatch(r"\(?[A-H]\)?", unwrap(text)):
        return "choice letters"
    if len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", unwrap(text))) > 3 and "=" not in text:
        return "text"
    if (parts := listing(text)) is not None or r"\cup" in text:
        is_tuple = parts is not None and (parts.opening, parts.closing) == ("(", ")")
        return "tuples" if is_tuple else "sets, lists, intervals"
    if relation(text) is not None or re.search(r"[<>]|\\leq|\\geq", text):
        return "equations"
    value, unit = split_unit(text)
    if unit:
        return "percent" if unit == "percent" else "units"
    if (number := parse_number(value)) is not None:
        return "integers" if number.denominator == 1 and "/" not in value else _written(value)
    if re.search(r"[A-Za-z]{3}", re.sub(r"\\[A-Za-z]+", "", unwrap(value))):
        return "text"
    return "radicals and π" if re.search(r"\\sqrt|\\pi", value) else "expressions"


def _written(value: str) -> str:
    return "fractions" if re.search(r"\\frac|/", value) else "decimals"


def build_pairs(folder: Path, *, seed: int = 0) -> list[Pair]:
    """Return distinct pairs of a gold answer and an answer; the same ones in every run."""
    rng = random.Random(seed)
    rows = golds(folder)
    texts = list(dict.fromkeys([row.text for row in rows] + [c for row in rows for c in choices_of(row.metadata)]))
    of_kind: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        of_kind[kind_of(text)].append(text)
    pairs = [(text, other) for text in texts for other in (text, *spellings(text))]
    for text in texts:
        alike = of_kind[kind_of(text)]
        pairs += [(text, other) for other in rng.sample(alike, min(3, len(alike))) + rng.sample(texts, 2)]
        pairs += [(text, changed) for changed in _one_digit_changed(text)]
    for row in recorded_answers(folder):
        choices = choices_of(row.metadata)
        gold = choices["ABCDE".index(row.gold)] if choices and row.gold in "ABCDE" else row.gold
        pairs.append((gold, row.answer))
    return [pair for pair in dict.fromkeys(pairs) if pair[1].strip()]


def _one_digit_changed(text: str) -> Iterable[str]:
    digits = list(re.finditer(r"\d", text))
    for match in digits[:1] + digits[-1:]:
        yield text[: match.start()] + str((int(match.group()) + 1) % 10) + text[match.end() :]


def judge(pairs: Sequence[Pair], *, timeout: float = 3.0) -> list[Judged]:
    """Judge all pairs by the three rules."""
    quick = [compare(gold, answer) for gold, answer in pairs]
    open_pairs = list(dict.fromkeys(verdict for verdict in quick if isinstance(verdict, tuple)))
    library = dict(zip(open_pairs, _by_library("math_verify", open_pairs, timeout), strict=True))
    ours = [library[verdict] if isinstance(verdict, tuple) else verdict for verdict in quick]
    peers = [_by_math_verify(pairs), _by_library("mathruler", pairs, timeout)]
    kinds = [kind_of(gold) for gold, _ in pairs]
    return [Judged(*row) for row in zip(pairs, kinds, ours, *peers, strict=True)]


def _by_library(rule: Any, pairs: Sequence[Pair], timeout: float) -> list[bool | None]:
    verifier = Verifier(timeout=timeout, rule=rule)
    try:
        return verifier.verify(pairs)
    finally:
        verifier.close()


def _by_math_verify(pairs: Sequence[Pair]) -> list[bool | None]:
    """Judge as its users do, in this process and under its own deadlines; None where the gold is not read at all."""
    from math_verify import parse, verify

    parsed = {text: parse(f"\\boxed{{{text}}}") for text in dict.fromkeys(text for pair in pairs for text in pair)}
    return [verify(parsed[gold], parsed[answer]) if parsed[gold] else None for gold, answer in pairs]


def agreement(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Return counts and agreement by class, and of "all"."""
    rows = {}
    for kind in ("all", *CLASSES):
        here = [row for row in judged if kind in ("all", row.kind)]
        if here:
            rows[kind] = {
                "pairs": len(here),
                "math_verify": _share([row.ours is row.math_verify for row in here if row.math_verify is not None]),
                "mathruler": _share([row.ours is row.mathruler for row in here if row.mathruler is not None]),
                "common": sum(row.common is not None for row in here),
                "both": _share([row.ours is row.common for row in here if row.common is not None]),
                "failed": {
                    "ours": sum(row.ours is None for row in here),
                    "math_verify": sum(row.math_verify is None for row in here),
                    "mathruler": sum(row.mathruler is None for row in here),
                },
            }
    return rows


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def report(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table of ``agreement``."""
    header = ["class", "pairs", "with math-verify", "with mathruler", "they agree on", "with both there", "failed"]
    return table(
        header,
        [
            [
                kind,
                str(row["pairs"]),
                *(_percent(row[name]) for name in ("math_verify", "mathruler")),
                str(row["common"]),
                _percent(row["both"]),
                " / ".join(str(num) for num in row["failed"].values()),
            ]
            for kind, row in rows.items()
        ],
        names=1,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and with --differences the pairs on which we differ from both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the results, too")
    parser.add_argument("--differences", action="store_true", help="print the pairs on which both say otherwise")
    options = parser.parse_args(argv)
    folder = data_folder()
    if folder is None:
        parser.error("MAPO_BENCHMARK_DATA is not set to the folder of real rows")
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    judged = judge(build_pairs(folder))
    rows = agreement(judged)
    print(report(rows))
    print("failed: ours / math-verify / mathruler")
    if options.differences:
        for row in judged:
            if row.common is not None and row.ours is not row.common:
                print(f"{row.kind}: {row.pair}, ours {row.ours}, both {row.common}")
    if options.json:
        verdicts = Counter((str(row.ours), str(row.math_verify), str(row.mathruler)) for row in judged)
        write_json(options.json, {"classes": rows, "verdicts": {" / ".join(k): n for k, n in verdicts.items()}})


if __name__ == "__main__":
    main()
