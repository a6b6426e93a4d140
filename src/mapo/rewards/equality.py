r"""Whether two short answers are the same, as far as that shows without computer algebra."""

import re
from fractions import Fraction

from mapo.rewards.answer_text import clean, key_of_clean, same_key, unwrap
from mapo.rewards.choices import choice_letter, letter_before_text
from mapo.rewards.expression import same_values
from mapo.rewards.quantity import parse_number, split_unit
from mapo.rewards.structure import is_name, listing, matrix, relation, split_outside
from mapo.rewards.units import units_differ
from mapo.rewards.value import number_of, right_side, stated_forms, values_of, without_lead_in

Pair = tuple[str, str]
Verdict = bool | Pair

_TEXT = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z][A-Za-z ,.'-]*")
_NAME_WITH_PRIMES = re.compile(r"[A-Za-z]+'+")  # algebra drops the primes
_LETTERS = re.compile(r"\(?[A-J](?:\s*(?:,|and|&)?\s*[A-J])+\)?")
_FUNCTIONS = r"(?!sqrt|frac|(?:arc)?(?:sin|cos|tan)|log|ln|exp|max|min|or|and)"
_LABEL = re.compile(
    r"\\text ?\{[^{}]*[A-Za-z]{3}[^{}]*\} ?:?(?!$)"
    rf"|{_FUNCTIONS}[A-Za-z]{{3,}}(?: [A-Za-z]+)*:?(?= ?[(\[0-9\\])"
)
_WORD = re.compile(rf"(?<![\\{{A-Za-z]){_FUNCTIONS}[A-Za-z]{{2,}}")
_PLAIN_WORD = re.compile(rf"(?<![\\A-Za-z]){_FUNCTIONS}[A-Za-z]{{3,}}")
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
_ORDER = re.compile(r"[<>]|\\(?:leq|geq|neq)(?![a-zA-Z])")
_DECIMAL_COMMA = re.compile(r"[+-]?\d{1,20},\d{1,20}")
_RATIO = re.compile(r"\d{1,9}(?:\.\d{1,9})?(?: ?: ?\d{1,9}(?:\.\d{1,9})?){1,3}")
_NEAR = 1e-5  # differences from which on no rounding rule of the verifier makes two numbers equal
_MOST_WORDS = 3  # "square inches", "domain and range": beyond that it is a sentence
_MAX_DEPTH = 4


def compare(gold: str, answer: str) -> Verdict:
    r"""Compare two short answers without computer algebra.

    In this order: spelling, a letter, plain words, the parts of lists and matrices, the right side of an equation,
    quantities with units, the values of expressions.

    Args:
        gold: The right answer as the data set writes it.
        answer: A model's answer.

    Returns:
        A verdict, or, where there is none yet, the pair of texts that computer algebra has to compare.

    Example:
        >>> compare(r"145^\circ", "145"), compare("1,000", "100"), compare(r"2\sqrt{2}", r"\sqrt{8}")
        (True, False, True)
        >>> compare("x < 2", "2 > x")
        ('x < 2', '2 > x')
    """
    gold, answer = without_lead_in(clean(gold)), without_lead_in(clean(answer))
    if same_key(gold, answer):
        return True
    verdict = _compare_letters(gold, answer)
    if verdict is not None:
        return verdict
    # As mathematics, "even" and "neve" were the same product of letters.
    if _TEXT.fullmatch(unwrap(gold)) or _num_words(right_side(gold)) > _MOST_WORDS:
        return same_key(gold, right_side(answer))
    return _compare(gold, answer, 0)


def _compare_letters(gold: str, answer: str) -> bool | None:
    """Compare the letters of choices; None where one of the answers is none."""
    one, other = choice_letter(gold), choice_letter(answer)
    if one or other:
        one, other = one or letter_before_text(gold), other or letter_before_text(answer)
        return one == other if one and other else None
    if _LETTERS.fullmatch(gold) and _LETTERS.fullmatch(answer):
        return sorted(re.findall("[A-J]", gold)) == sorted(re.findall("[A-J]", answer))
    return None


def _compare(gold: str, answer: str, depth: int) -> Verdict:
    if same_key(gold, answer):
        return True
    if depth == _MAX_DEPTH:
        return gold, answer
    if r"\approx" in gold or r"\approx" in answer:
        return _compare_approximations(gold, answer, depth)
    for compare_form in _FORMS:
        verdict = compare_form(gold, answer, depth)
        if verdict is not None:
            return verdict
    return False if _are_of_different_kinds(gold, answer) else _compare_quantities(gold, answer)


def _are_of_different_kinds(gold: str, answer: str) -> bool:
    """Tell whether two different spellings cannot mean the same: prose, a value, a list of several."""
    if not all(re.search(r"[0-9A-Za-z]", text) for text in (gold, answer)) or _is_prose(gold) or _is_prose(answer):
        return True  # a sign or a sentence is right in its own words only
    if _NAME_WITH_PRIMES.fullmatch(gold) or _NAME_WITH_PRIMES.fullmatch(answer):
        return True
    if any(matrix(text) is not None and r"\begin" not in other for text, other in ((gold, answer), (answer, gold))):
        return True
    one, other = split_unit(gold)[0], split_unit(answer)[0]
    for value, opposite in ((one, other), (other, one)):
        if values_of(value) is not None and (_holds_several(opposite) or _is_word(opposite)):
            return True
    return values_of(other) is not None and (relation(gold) is not None or _ORDER.search(gold) is not None)


def _is_prose(text: str) -> bool:
    return _num_words(text) >= _MOST_WORDS


def _num_words(text: str) -> int:
    return len(_WORD.findall(unwrap(text)))


def _is_word(text: str) -> bool:
    text = unwrap(text)
    return not re.search(r"[0-9\\]", text) and (_PLAIN_WORD.search(text) is not None or text.casefold() == "no")


def _holds_several(text: str) -> bool:
    parts = listing(text)
    if parts is None or len(parts.parts) < 2:
        return len(split_outside(_without_membership(text), {r"\cup"})) > 1
    return True


def _compare_approximations(gold: str, answer: str, depth: int) -> Verdict:
    r"""Compare the exact and the rounded form of ``\sqrt{2} \approx 1.41``; either may be the gold answer's."""
    verdicts = [_compare(one, other, depth + 1) for one in stated_forms(gold) for other in stated_forms(answer)]
    return True if True in verdicts else next((v for v in verdicts if isinstance(v, tuple)), False)


def _compare_matrices(gold: str, answer: str, depth: int) -> Verdict | None:
    one, other = matrix(gold), matrix(answer)
    if one is None or other is None:
        return None
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    cells, other_cells = ([cell for row in rows for cell in row] for rows in (one, other))
    return _in_order(cells, other_cells, (gold, answer), depth)


def _compare_decimal_commas(gold: str, answer: str, depth: int) -> Verdict | None:
    """Compare 1,5 and 1.5, which are one number; and no list is a number."""
    if sum(_DECIMAL_COMMA.fullmatch(text) is not None for text in (gold, answer)) != 1:
        return None
    one, other = (parse_number(text.replace(",", ".")) for text in (gold, answer))
    return True if one is not None and one == other and "." in gold + answer else None


def _compare_lists(gold: str, answer: str, depth: int) -> Verdict | None:
    one, other = listing(gold), listing(answer)
    if one is None or other is None:
        return None
    if len(one.parts) != len(other.parts) and (one.is_ordered or other.is_ordered):
        return False
    if one.is_ordered and other.is_ordered:
        if (one.opening, one.closing) != (other.opening, other.closing):
            return False
        return _in_order(one.parts, other.parts, (gold, answer), depth)
    if not one.is_ordered and not other.is_ordered:
        return _in_any_order(one.parts, other.parts, (gold, answer), depth)
    # (1, 2) and 1, 2: algebra may take a point or an interval for its bare parts, but not for a set of them
    if r"\{" in (one.opening, other.opening):
        return False
    if len(one.parts) == 1:
        return None
    return False if _in_any_order(one.parts, other.parts, (gold, answer), depth) is False else (gold, answer)


def _compare_labelled(gold: str, answer: str, depth: int) -> Verdict | None:
    """Compare values that stand behind words, as in "increasing (0, 1)"."""
    one, other = _LABEL.match(gold), _LABEL.match(answer)
    if one is None or other is None:
        return None
    if not same_key(one.group(), other.group()):
        return False
    return _compare(gold[one.end() :].strip(), answer[other.end() :].strip(), depth + 1)


def _compare_unions(gold: str, answer: str, depth: int) -> Verdict | None:
    one, other = (split_outside(_without_membership(text), {r"\cup"}) for text in (gold, answer))
    if min(len(one), len(other)) < 2 or len(one) != len(other):
        return None
    return _in_any_order(one, other, (gold, answer), depth)


def _without_membership(text: str) -> str:
    return split_outside(text, {r"\in"})[-1]


def _in_order(golds: list[str], answers: list[str], whole: Pair, depth: int) -> Verdict:
    verdicts = [_compare(gold, answer, depth + 1) for gold, answer in zip(golds, answers, strict=True)]
    if False in verdicts:
        return False
    open_pairs = [verdict for verdict in verdicts if isinstance(verdict, tuple)]
    if len(open_pairs) > 1:
        return whole
    return open_pairs[0] if open_pairs else True


def _in_any_order(golds: list[str], answers: list[str], whole: Pair, depth: int) -> Verdict:
    if len(golds) > 30:  # every part is compared with every other
        return whole
    golds, answers = (list({key_of_clean(part): part for part in parts}.values()) for parts in (golds, answers))
    if len(golds) != len(answers):
        return False
    left, verdict = answers, True
    for gold in golds:
        verdicts = [_compare(gold, answer, depth + 1) for answer in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif all(v is False for v in verdicts):
            return False
        else:
            verdict = False
    return True if verdict else whole


def _compare_equations(gold: str, answer: str, depth: int) -> Verdict | None:
    if any((found := listing(text)) is not None and not found.opening for text in (gold, answer)):
        return None
    one, other = relation(gold), relation(answer)
    if one is None and other is None:
        return None
    if one is None or other is None:
        sides = one or other
        # What is asked for is a value; an answer may derive it, but a gold "x - 3z = 0" is an equation.
        if sides is None or (one is not None and not is_name(sides[0])):
            return None
        return _compare(sides[1] if one else gold, sides[1] if other else answer, depth + 1)
    if not (is_name(one[0]) and is_name(other[0])):
        if set(_VARIABLE.findall(gold)) != set(_VARIABLE.findall(answer)):
            return False
        return True if _are_multiples(gold, answer) else None
    if same_key(one[0], other[0]) or _is_worded(one[0]) or _is_worded(other[0]):
        return _compare(one[1], other[1], depth + 1)
    return None


def _are_multiples(gold: str, answer: str) -> bool:
    """Tell whether one equation is the other one times a number."""
    sides = [split_outside(text, {"="}) for text in (gold, answer)]
    if any(len(parts) != 2 for parts in sides):
        return False
    one, other = (values_of(f"({left}) - ({right})") for left, right in sides)
    if one is None or other is None or min(map(abs, one + other)) < _NEAR:
        return False
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return all(abs(ratio - ratios[0]) <= 1e-9 * abs(ratio) for ratio in ratios)


def _is_worded(name: str) -> bool:
    """Whether a left side is empty or says in words, or as an abbreviation, what is asked for."""
    return not name or re.search(r"(?<!\\)\b[A-Za-z]{4,}|[A-Z]\.", name) is not None


def _compare_quantities(gold: str, answer: str) -> Verdict:
    if (ratio := _ratio(gold)) is not None and (other_ratio := _ratio(answer)) is not None:
        return ratio == other_ratio
    (gold_value, gold_unit), (value, unit) = split_unit(gold), split_unit(answer)
    if units_differ(gold_unit, unit):
        return False
    if same_key(gold_value, value):
        return True
    percent = (gold_unit == "percent", unit == "percent")
    undecided = _with_percent(gold_value, percent[0]), _with_percent(value, percent[1])
    verdict = _same_value(gold_value, value)
    if verdict is False and percent[0] != percent[1]:  # 28 % is 28, and it is 0.28
        share, other = map(values_of, (gold_value, value) if percent[0] else (value, gold_value))
        return same_values(tuple(v / 100 for v in share), other) or False if share and other else undecided
    return undecided if verdict is None else verdict


def _ratio(text: str) -> tuple[Fraction, ...] | None:
    """Return what is equal for two spellings of a ratio such as 3:2, or of a time of day."""
    if not _RATIO.fullmatch(text):
        return None
    parts = [Fraction(part.strip()) for part in text.split(":")]
    return tuple(parts if parts[-1] == 0 else (part / parts[-1] for part in parts))


def _same_value(one: str, other: str) -> bool | None:
    one_number, number = parse_number(one), parse_number(other)
    if one_number is not None and number is not None:
        if one_number == number:
            return True
        return False if abs(one_number - number) > _NEAR else None
    one_values, values = values_of(one), values_of(other)
    return None if one_values is None or values is None else same_values(one_values, values)


def _with_percent(value: str, is_percent: bool) -> str:
    return value + r"\%" if is_percent else value


_FORMS = (
    _compare_matrices,
    _compare_decimal_commas,
    _compare_lists,
    _compare_labelled,
    _compare_unions,
    _compare_equations,
)


def equal_when_rounded(gold: str, answer: str, precision: int) -> bool | None:
    r"""Tell whether two numbers are equal after rounding both to a number of decimals.

    Returns:
        None where one of them is no number.

    Example:
        >>> equal_when_rounded("3.46", r"2\sqrt{3}", 2), equal_when_rounded("3.46", "3.4", 2)
        (True, False)
        >>> equal_when_rounded("3.46", "x", 2) is None
        True
    """
    one, other = (number_of(right_side(stated_forms(clean(text))[-1])) for text in (gold, answer))
    if one is None or other is None:
        return None
    return round(one, precision) == round(other, precision)
