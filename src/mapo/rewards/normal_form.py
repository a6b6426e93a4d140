r"""One form for all spellings of an answer, to count votes by and to read in logs."""

from mapo.rewards.answer_text import clean, key_of_clean
from mapo.rewards.choices import choice_letter
from mapo.rewards.expression import constant
from mapo.rewards.quantity import parse_number, split_unit
from mapo.rewards.structure import Listing, is_name, listing, matrix, relation
from mapo.rewards.value import stated_forms, values_of, without_lead_in

_MAX_DEPTH = 4


def normal_form(text: str) -> str:
    r"""Return one form for all spellings of an answer that are equal without computer algebra.

    Units and the left side of an equation go; a number is a decimal where it has a finite one.

    Example:
        >>> [normal_form(text) for text in (r"x = \frac{1}{2}", "0.50", r"50\%", r"145^\circ", r"\{2, 1\}", r"\sqrt8")]
        ['0.5', '0.5', '50', '145', '{1, 2}', '2.82842712']
    """
    return _normal(clean(text), 0)


def _normal(text: str, depth: int) -> str:
    text = without_lead_in(stated_forms(text)[-1])
    if (letter := choice_letter(text)) is not None:
        return letter
    if depth < _MAX_DEPTH:
        if (cells := matrix(text)) is not None:
            return "[" + "; ".join(", ".join(_normal(cell, depth + 1) for cell in row) for row in cells) + "]"
        if (parts := listing(text)) is not None:
            return _normal_list(parts, depth)
        if (sides := relation(text)) is not None and is_name(sides[0]):
            return _normal(sides[1], depth + 1)
    value = split_unit(text)[0]
    number = parse_number(value)
    if number is not None:
        return decimal(number.numerator, number.denominator)
    values = values_of(value)
    if values is None or any(other != values[0] for other in values):
        return key_of_clean(value)
    real = constant(values)
    return f"{values[0]:.9g}" if real is None else f"{real:.9g}"


def _normal_list(parts: Listing, depth: int) -> str:
    items = [_normal(part, depth + 1) for part in parts.parts]
    items = items if parts.is_ordered else sorted(items)
    return parts.opening.removeprefix("\\") + ", ".join(items) + parts.closing.removeprefix("\\")


def decimal(numerator: int, denominator: int) -> str:
    """Return a fraction as a decimal where that is finite and short, else with a slash.

    Example:
        >>> decimal(1, 2), decimal(-7, 1), decimal(-1, 3)
        ('0.5', '-7', '-1/3')
    """
    for places in range(13):
        scaled, rest = divmod(numerator * 10**places, denominator)
        if rest == 0:
            digits = f"{abs(scaled):0{places + 1}d}"
            sign = "-" if scaled < 0 else ""
            return sign + (digits if not places else f"{digits[:-places]}.{digits[-places:]}")
    return f"{numerator}/{denominator}"
