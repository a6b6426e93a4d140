"""A comparison as text for the terminal, as Markdown and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mapo.callbacks.markdown import table
from mapo.callbacks.text_table import text_table
from mapo.compare.comparison import Comparison, Pair
from mapo.compare.sentences import chance_line, points, sentence
from mapo.compare.statistics import Interval

_MOST_PAIRS = 6  # of four methods; of more methods, text shows those with the reference, and JSON has all


def text(comparison: Comparison) -> str:
    """Return what the terminal shows."""
    parts = [_heading(comparison), text_table(*_level_table(comparison))]
    if comparison.pairs:
        parts += [
            f"Difference to {comparison.reference} in percentage points; * where the 95 % interval leaves out 0",
            text_table(*_difference_table(comparison)),
        ]
    closing = [*_sentences(comparison), *(f"Warning: {warning}" for warning in comparison.warnings)]
    return "\n\n".join(part for part in [*parts, "\n".join(closing)] if part)


def markdown(
    comparison: Comparison,
    figures: Mapping[str, str] | None = None,
    *,
    title: str = "Comparison",
    introduction: str = "",
) -> str:
    """Return the report as Markdown.

    Args:
        comparison: What is reported.
        figures: Files of pictures, relative to the report, by what they show.
        title: Of the page.
        introduction: Markdown below it.
    """
    parts = [
        f"# {title}",
        introduction,
        _heading(comparison),
        *(f"**Warning.** {warning}" for warning in comparison.warnings),
        "\n".join(f"- {line}" for line in _sentences(comparison)),
        "## Accuracy after training",
        "In percent, with 95 % intervals. A_S is the mean of the sets in domain, A_T out of domain, A of both.",
        table(*_level_table(comparison)),
        *_difference_section(comparison),
        *(f"![{words}]({file})" for words, file in (figures or {}).items()),
        "## Methods",
        table(*_method_table(comparison)),
        _method_notes(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(comparison: Comparison) -> dict[str, Any]:
    """Return everything in plain values: shares of 1, by method and measure."""
    return {
        "mode": comparison.mode,
        "reference": comparison.reference,
        "headline": comparison.headline,
        "questions": dict(comparison.num_questions),
        "measures": {measure.name: dict(measure.weights) for measure in comparison.measures},
        "methods": {
            method.name: {
                "runs": [str(run.folder) for run in method.runs],
                "seeds": list(method.seeds),
                "settings": {key: _plain_value(value) for key, value in method.settings.items()},
                "budget": asdict(comparison.budgets[method.name]),
                "accuracy": {name: asdict(level) for name, level in comparison.levels[method.name].items()},
                "curves": {
                    name: {str(phase): asdict(level) for phase, level in curve.items()}
                    for name, curve in comparison.curves[method.name].items()
                },
            }
            for method in comparison.methods
        },
        "before": {name: asdict(level) for name, level in comparison.before.items()},
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "paired_runs": pair.paired_runs,
                "sentence": sentence(comparison, pair),
                "differences": {name: asdict(one) for name, one in pair.differences.items()},
                "cohens_h": dict(pair.effects),
            }
            for pair in comparison.pairs
        ],
        "warnings": list(comparison.warnings),
    }


def _heading(comparison: Comparison) -> str:
    questions = ", ".join(f"{name} {number}" for name, number in comparison.num_questions.items())
    runs = sum(len(method.runs) for method in comparison.methods)
    return (
        f"{len(comparison.methods)} {'method' if len(comparison.methods) == 1 else 'methods'}, {runs} runs, "
        f"{comparison.mode} answers to {questions} questions. Strict matches."
    )


def _level_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [measure.name for measure in comparison.measures]
    rows = [
        [method.name, str(len(method.runs)), *(_level(comparison.levels[method.name][name]) for name in names)]
        for method in comparison.methods
    ]
    if comparison.before:
        rows.insert(0, [_before(comparison), "", *(_level(comparison.before[name]) for name in names)])
    return ["method", "seeds", *names], rows


def _before(comparison: Comparison) -> str:
    """Return what the row of accuracies before training is called: with its method, unless all began alike."""
    curves = [comparison.curves[method.name] for method in comparison.methods]
    alike = all(curve[name].get(0) == level for curve in curves for name, level in comparison.before.items())
    return "before training" if alike else f"before {comparison.reference}"


def _difference_section(comparison: Comparison) -> list[str]:
    if not comparison.pairs:
        return []
    by_seed = " and by seed" if all(pair.paired_runs for pair in _shown_pairs(comparison)) else ""
    return [
        f"## Difference to {comparison.reference}",
        f"In percentage points, paired by question{by_seed}, with 95 % intervals; "
        "an asterisk where the interval leaves out 0.",
        table(*_difference_table(comparison)),
    ]


def _difference_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    names = [measure.name for measure in comparison.measures]
    pairs = [pair for pair in comparison.pairs if pair.second == comparison.reference]
    rows = [[pair.first, *(_difference(pair.differences[name]) for name in names)] for pair in pairs]
    return ["method", *names], rows


def _method_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return budgets and what sets the methods apart, a line each; what is common to all is in their configurations."""
    rows = []
    for method in comparison.methods:
        own = comparison.budgets[method.name]
        budget = ["unknown" if value is None else f"{value:,.0f}" for value in (own.rollouts, own.steps, own.tokens)]
        settings = ", ".join(
            f"{key.removeprefix('model.')} {value}" for key, value in method.settings.items() if value != "(not set)"
        )
        rows.append([method.name, ", ".join(map(str, method.seeds)), *budget, settings])
    return ["method", "seeds", "rollouts", "steps", "tokens sampled", "what sets it apart"], rows


def _method_notes(comparison: Comparison) -> str:
    notes = ["Rollouts, steps and tokens are those of one run."]
    if all(level.covers_runs for levels in comparison.levels.values() for level in levels.values()):
        notes.append("Intervals cover other questions of the same kind and other training runs.")
    return " ".join(notes)


def _shown_pairs(comparison: Comparison) -> list[Pair]:
    if len(comparison.pairs) <= _MOST_PAIRS:
        return list(comparison.pairs)
    return [pair for pair in comparison.pairs if pair.second == comparison.reference]


def _sentences(comparison: Comparison) -> list[str]:
    pairs = _shown_pairs(comparison)
    lines = [sentence(comparison, pair) for pair in pairs]
    chance = chance_line(len(lines))
    return [*lines, chance] if chance else lines


def _level(level: Interval) -> str:
    return f"{100 * level.value:.1f} ({100 * level.low:.1f}-{100 * level.high:.1f})"


def _difference(difference: Interval) -> str:
    mark = "*" if difference.sign else ""
    return f"{points(difference.value)} ({points(difference.low)} to {points(difference.high)}){mark}"


def _plain_value(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else str(value)
