r"""The value that an answer states, among the words, equations and roundings around it."""

import re
from functools import lru_cache

from mapo.rewards.expression import Values, constant, expression_values
from mapo.rewards.quantity import parse_number, split_unit
from mapo.rewards.structure import is_name, relation, split_outside

_ABOUT = "approximately|about|roughly|around|nearly"
_LEAD_IN = re.compile(
    rf"^(?:\\text ?\{{ ?)?(?:(?:the )?(?:final |correct )?answer(?: is)?(?: (?:{_ABOUT}))?:?|{_ABOUT})"
    r"(?: ?\})? *(?!$)",
    re.IGNORECASE,
)
_ROUNDING = 0.02  # relative; what "a = b, about c" may lose on the way from b to c


def without_lead_in(text: str) -> str:
    """Take away words in front of a value that say no more than that it is the answer, or a rounded one.

    Example:
        >>> without_lead_in("The answer is 5"), without_lead_in("about 3.2")
        ('5', '3.2')
    """
    return _LEAD_IN.sub("", text)


def right_side(text: str) -> str:
    """Return what is behind the last equality sign; the text itself where there is none."""
    sides = relation(text)
    return sides[1] if sides else text


def stated_forms(text: str) -> list[str]:
    r"""Return the exact and the rounded forms of one value, as in ``x = \sqrt{2} \approx 1.41``.

    An answer that says two different things says the last one.

    Example:
        >>> stated_forms(r"\sqrt{2} \approx 1.41"), stated_forms(r"5 \approx 7"), stated_forms(r"x \approx 7")
        (['\\sqrt{2}', '1.41'], ['7'], ['7'])
    """
    forms = [form for form in split_outside(text, {r"\approx"}) if form]
    forms = [form for form in forms[:-1] if not is_name(form)] + forms[-1:]
    if len(forms) < 2:
        return forms or [text]
    *numbers, last = (number_of(right_side(form)) for form in forms)
    close = [n is not None and last is not None and abs(n - last) <= _ROUNDING * abs(last) for n in numbers]
    return [form for form, is_close in zip(forms, [*close, True], strict=True) if is_close]


@lru_cache(8192)
def values_of(text: str) -> Values | None:
    """Return the values of a number or an expression without a unit; None where it is neither."""
    number = parse_number(text)
    return expression_values(text) if number is None or abs(number) > 1e300 else (complex(float(number)),) * 3


def number_of(text: str) -> float | None:
    r"""Return the real number that a quantity states; None where it states none.

    Example:
        >>> number_of(r"\frac{1}{2} \text{ cm}"), number_of("2x") is None
        (0.5, True)
    """
    values = values_of(split_unit(text)[0])
    return None if values is None else constant(values)
