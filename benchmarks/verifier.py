"""Verdicts per second of MathAnswer, of its quick rules and of its workers, against math-verify in this process.

    MAPO_BENCHMARK_DATA=<folder> python -m benchmarks.verifier --json verifier.json

The mix is real golds against themselves in other spellings, other golds and recorded model answers; without the folder
it is a short list written here. It is cut into disjoint batches, and on every batch the ways take turns, so that none
finds its own results in a cache and all run under the same load; the numbers are medians over the batches. Workers are
started, and math-verify's grammars built, before the first batch.
"""

import argparse
import logging
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_answers import data_folder, golds, recorded_answers, spellings
from benchmarks.report import table, write_json
from benchmarks.verdict_agreement import kind_of
from mapo.rewards.choices import choices_of
from mapo.rewards.equality import compare
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.verifier import Verifier
from mapo.types import Completion, Prompt

Pair = tuple[str, str]
Judge = Callable[[Sequence[Pair]], Any]
_SIMPLE = ("integers", "decimals", "choice letters", "text", "percent", "units")
_BUILT_IN = (
    "42", "-7", "1,250", "0.75", "3.14", r"\frac{3}{4}", r"-\frac{35}{9}", r"2\sqrt{13}", r"\frac{15\sqrt{7}}{14}",
    r"30\pi + 9\sqrt{3}", r"145^\circ", r"9.4 \mathrm{~cm}^{2}", r"28\%", r"\text{odd}", r"\text{(C)}", "x = 5",
    r"\left( 3, \frac{\pi}{2} \right)", r"\left[ \frac{3}{2}, 2 \right)", r"(0,9) \cup (9,36)", "64a^6", "3(x-2)(x+1)",
    r"\begin{pmatrix} 3 & -3 \\ 4 & -2 \end{pmatrix}", "y = 2x + 3", "x - 3z = 0", r"1 \pm \sqrt{19}", "6 - 5i",
    "1, -2",
)  # fmt: skip


def ordinary_mix(folder: Path | None, *, seed: int = 0) -> list[Pair]:
    """Return distinct pairs of gold and answer in random order, about half of them equal."""
    rng = random.Random(seed)
    if folder is None:
        texts, pairs = list(_BUILT_IN), []
    else:
        rows = golds(folder)
        texts = list(dict.fromkeys([row.text for row in rows] + [c for row in rows for c in choices_of(row.metadata)]))
        pairs = [(row.gold, row.answer) for row in recorded_answers(folder) if row.answer]
    for text in texts:
        pairs += [(text, other) for other in (*rng.sample(spellings(text), 3), *rng.sample(texts, 3))]
    pairs = list(dict.fromkeys(pairs))
    rng.shuffle(pairs)
    return pairs


def rates(ways: dict[str, Judge], batches: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Return pairs per second of every way, the median over the batches."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number, batch in enumerate(batches):
        names = list(ways) if number % 2 == 0 else list(ways)[::-1]
        for name in names:
            start = time.perf_counter()
            ways[name](batch)
            found[name].append(len(batch) / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def math_verify_here(pairs: Sequence[Pair]) -> list[bool]:
    """Judge pairs as its users do: parse both, verify, in this process and without a deadline."""
    from math_verify import parse, verify

    verdicts = []
    for gold, answer in pairs:
        golds_and_answers = [parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer)]
        verdicts.append(verify(*golds_and_answers, timeout_seconds=None))
    return verdicts


def completions(pairs: Sequence[Pair]) -> list[Completion]:
    """Return completions whose boxes hold the answers."""
    no_tokens = torch.zeros(0, dtype=torch.long)
    return [
        Completion(Prompt("", (), (), gold, {}), "", f"\\boxed{{{text}}}", no_tokens, False) for gold, text in pairs
    ]


def cut(pairs: Sequence[Pair], num: int) -> list[Sequence[Pair]]:
    """Return disjoint batches of one size."""
    size = len(pairs) // num
    return [pairs[i * size : (i + 1) * size] for i in range(num)]


def measure(pairs: Sequence[Pair], num_batches: int) -> dict[str, Any]:
    """Return what the table shows."""
    is_open = {pair: isinstance(compare(*pair), tuple) for pair in pairs}
    quick = [pair for pair in pairs if not is_open[pair]]
    algebra = [pair for pair in pairs if kind_of(pair[0]) not in _SIMPLE][: 60 * num_batches]
    rewards = {num: MathAnswer(num_workers=num) for num in (1, 2)}
    verifiers = {num: Verifier(num_workers=num) for num in (1, 2)}
    warm_up = [("x+1", "1+x"), ("(1,2)", r"\{1,2\}"), ("x < 2", "2 > x")] * 2
    for num in (1, 2):
        rewards[num](completions([("x < 2", "2 > x"), ("x < 3", "3 > x")]))
        verifiers[num].verify(warm_up)
    math_verify_here(warm_up)
    all_ways: dict[str, Judge] = {f"ours, {n} worker(s)": (lambda b, n=n: rewards[n](completions(b))) for n in (1, 2)}
    workers: dict[str, Judge] = {f"ours, {n} worker(s)": verifiers[n].verify for n in (1, 2)}
    peer: dict[str, Judge] = {"math-verify in process": math_verify_here}
    quick_way: dict[str, Judge] = {"ours, in process": lambda batch: [compare(*pair) for pair in batch]}
    results = {
        "mix": {"pairs": len(pairs), "kinds": dict(Counter(kind_of(gold) for gold, _ in pairs).most_common())},
        "quick_share": len(quick) / len(pairs),
        "rates": {
            "quick rules alone": rates(quick_way | peer, cut(quick, num_batches)),
            "algebra alone": rates(workers | peer, cut(algebra, num_batches)),
            "the whole mix": rates(all_ways | peer, cut(pairs, num_batches)),
        },
    }
    for judge in (*rewards.values(), *verifiers.values()):
        judge.close()
    return results


def report(results: dict[str, Any]) -> str:
    """Return the mix and the table of rates."""
    rows = [[part, way, f"{rate:,.0f}"] for part, ways in results["rates"].items() for way, rate in ways.items()]
    kinds = ", ".join(f"{num} {kind}" for kind, num in results["mix"]["kinds"].items())
    share = f"{results['mix']['pairs']} pairs ({kinds}); {results['quick_share']:.1%} decided by the quick rules."
    return share + "\n\n" + table(["part", "way", "verdicts/s"], rows, names=2)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the results, too")
    parser.add_argument("--batches", type=int, default=7, help="disjoint parts of the mix (default: 7)")
    options = parser.parse_args(argv)
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that it runs without its own timeout
    results = measure(ordinary_mix(data_folder()), options.batches)
    print(report(results))
    print(f"{len(os.sched_getaffinity(0))} cores")
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
