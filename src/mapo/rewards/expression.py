r"""The value of a simple expression in LaTeX, as floating-point numbers, without computer algebra.

What is read is arithmetic on numbers, π, e, i, variables of one letter, fractions, powers and roots. Everything else,
and everything that could be read in two ways, has no value here: computer algebra decides about it.
"""

import cmath
import math
import re

_TOKEN = re.compile(
    r" *(?:(?P<number>\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})|\\(?P<command>[A-Za-z]+)"
    r"|(?P<letter>[A-Za-z](?![A-Za-z]))|(?P<sign>[-+*/^(){}\[\]]))"
)
# Three places at which the variables have values without a relation; of both signs, so that √(x²) is not x.
_POINTS = 3
_MAX_DEPTH = 40
_TIMES = {"cdot", "times"}
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_GREEK = {"alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "rho", "sigma", "varphi", "tau"}
_LARGE = 1e6
_SAME, _DIFFERENT = 1e-9, 1e-5

Values = tuple[complex, ...]


class _UnreadableError(Exception):
    pass


def expression_values(text: str) -> Values | None:
    r"""Return what an expression is at three fixed points, all alike where it has no variables.

    Args:
        text: What ``mapo.rewards.answer_text.clean`` returns.

    Returns:
        None where the text is not such an expression, or its value is not finite.

    Example:
        >>> expression_values(r"\frac{1}{2} + 2^2")[0].real
        4.5
        >>> expression_values(r"1\frac{1}{2}")[0].real, expression_values("sin x"), expression_values("9^{9^9}")
        (1.5, None, None)
    """
    try:
        tokens = _tokens(text)
        values = tuple(_Reader(tokens, point).read() for point in range(_POINTS))
    except (_UnreadableError, ArithmeticError, ValueError):
        return None
    return values if all(map(cmath.isfinite, values)) else None


def same_values(one: Values, other: Values) -> bool | None:
    r"""Tell whether two expressions are equal, as far as their values show.

    Returns:
        True where they agree to nine decimals, False where they differ by more than any rounding explains; None
        between the two, and for numbers too large for that.

    Example:
        >>> root, third = expression_values(r"2\sqrt{2}"), expression_values("1/3")
        >>> same_values(root, expression_values(r"\sqrt{8}")), same_values(root, third)
        (True, False)
        >>> same_values(third, expression_values("0.333333")) is None
        True
    """
    gaps = [(abs(a - b), max(abs(a), abs(b))) for a, b in zip(one, other, strict=True)]
    if any(gap > _DIFFERENT and gap > _SAME * size for gap, size in gaps):
        return False
    if all(gap <= _SAME and size < _LARGE for gap, size in gaps):
        return True
    return None


def constant(values: Values) -> float | None:
    """Return the real number that values stand for; None where they depend on a variable or are complex."""
    if any(value != values[0] for value in values) or abs(values[0].imag) > _SAME:
        return None
    return values[0].real


def _tokens(text: str) -> list[str]:
    tokens, end = [], 0
    text = text.replace("**", "^").rstrip()
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None:
            raise _UnreadableError
        end = match.end()
        command = match["command"]
        tokens.append("\\" + command if command else match.group().strip())
    return tokens


class _Reader:
    """Reads the tokens of one expression from left to right; every method reads one kind of part."""

    def __init__(self, tokens: list[str], point: int) -> None:
        self._tokens = [*tokens, ""]
        self._at = 0
        self._depth = 0
        self._point = point

    def read(self) -> complex:
        value = self._sum()
        if self._next:
            raise _UnreadableError
        return value

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _sum(self) -> complex:
        sign = {"-": -1, "+": 1}.get(self._next)
        if sign is not None:
            self._take()
        value = self._product() * (sign or 1)
        while self._next in ("+", "-") and self._next:
            sign = -1 if self._take() == "-" else 1
            value += sign * self._product()
        return value

    def _product(self) -> complex:
        start = self._at
        value, divided = self._power(), False
        while self._next and self._next not in "+-)}]":
            if self._next in ("/", r"\div"):
                self._take()
                value, divided = value / self._power(), True
            elif self._next == "*" or self._next[1:] in _TIMES:
                self._take()
                value *= self._power()
            elif divided or self._next[0] in ".0123456789":
                raise _UnreadableError  # 1/2x, 2 3: who knows
            elif self._next == r"\frac" and self._tokens[self._at - 1].isdigit():
                value = self._mixed(value, is_first=self._at == start + 1)
            else:
                value *= self._power()
        return value

    def _mixed(self, whole: complex, *, is_first: bool) -> complex:
        r"""Read 1\frac{1}{2}, which is a sum where all three are whole numbers, and a product of other things."""
        ahead = self._tokens[self._at + 1 : self._at + 7]
        numbers = [ahead[1:2], ahead[4:5]] if ahead[:1] == ["{"] else [ahead[:1]]
        fraction = self._power()
        if not all(number and number[0].isdigit() for number in numbers):
            return whole * fraction
        if not is_first or (self._next and self._next not in "+-)}]"):
            raise _UnreadableError
        return whole + fraction

    def _power(self) -> complex:
        base = self._base()
        if self._next != "^":
            return base
        self._take()
        exponent = self._group()
        if self._next == "^":
            raise _UnreadableError
        return _raise(base, exponent)

    def _group(self) -> complex:
        """Read the argument of a command or an exponent: a group, or one character, as TeX has it."""
        token = self._next
        if token in ("{", "("):
            return self._base()
        if token[:1] == "\\" or not token or token in "+-*/^)}][":
            if token in (r"\pi",):
                return self._base()
            raise _UnreadableError
        if len(token) > 1:  # of \frac12 or x^23 one digit is meant, and the rest stands behind it
            if not token.isdigit():
                raise _UnreadableError
            self._tokens[self._at : self._at + 1] = [token[0], token[1:]]
        return self._base()

    def _base(self) -> complex:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _UnreadableError
        value = self._unit(self._take())
        self._depth -= 1
        return value

    def _unit(self, token: str) -> complex:
        if token in _CLOSING and token:
            value = self._sum()
            if self._take() != _CLOSING[token]:
                raise _UnreadableError
            return value
        if token[:1].isdigit() or token[:1] == ".":
            return complex(float(token))
        if token[:1] != "\\":
            return self._letter(token)
        return self._command(token[1:])

    def _letter(self, name: str) -> complex:
        if not name or not name.replace("\\", "").isalpha():
            raise _UnreadableError
        if name in ("i", "e"):
            return 1j if name == "i" else complex(math.e)
        seed = sum(ord(character) * 31**place for place, character in enumerate(name)) * _POINTS + self._point
        value = 0.3 + 2 * math.modf(abs(math.sin(seed * 12.9898)) * 43758.5453)[0]
        return complex(-value if self._point == 1 else value)

    def _command(self, name: str) -> complex:
        if name == "pi":
            return complex(math.pi)
        if name in _GREEK:
            return self._letter(name)
        if name == "frac":
            numerator = self._group()
            return numerator / self._group()
        if name == "sqrt":
            degree: complex = 2
            if self._next == "[":
                degree = self._base()
            return _raise(self._group(), 1 / degree)
        raise _UnreadableError


def _raise(base: complex, exponent: complex) -> complex:
    if exponent.imag or abs(exponent) > 1000:
        raise _UnreadableError
    if exponent.real == int(exponent.real):
        return base ** int(exponent.real)
    if exponent.real != 0.5 and (base.imag or base.real < 0):  # roots of negative numbers: the real or the first one
        raise _UnreadableError
    return base**exponent.real
