"""Stand-ins for Python's ``eval`` where libraries call it on what a model wrote: values and algebra, no programs."""

import ast
import builtins
import re
from collections.abc import Mapping
from typing import Any

_ARITHMETIC = re.compile(r"[0-9a-fx.+*/%&|^~<>() -]+")
_FUNCTIONS = {"abs", "max", "min", "pow", "round", "sum", "sqrt", "cbrt", "root"}  # what is no class in sympy
# No attribute, index, lambda or comprehension: a call can only be that of a name, and names are those of algebra.
_SYNTAX = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.Tuple, ast.List, ast.Set),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


def restrict_sympy() -> None:
    """Let sympy's parser evaluate algebra alone from now on, in this process.

    It hands the text to ``eval``, with ``open``, ``exec`` and its like among the names that the text may use.
    """
    from sympy.parsing import sympy_parser

    vars(sympy_parser).update(eval=read_algebra, compile=compile_algebra)


def read_value(source: Any) -> Any:
    """Return the value that a text states, a list of numbers or an arithmetic expression.

    Raises:
        ValueError: It is no such text.
        SyntaxError: Likewise.

    Example:
        >>> read_value("[1, 'a']"), read_value("(0x1f + 2) * 3")
        ([1, 'a'], 99)
    """
    if isinstance(source, str) and _ARITHMETIC.fullmatch(source):
        return builtins.eval(source, {"__builtins__": {}})
    return ast.literal_eval(source.strip())


def read_algebra(source: Any, scope: Mapping[str, Any], *scopes: Any) -> Any:
    """Evaluate what sympy's parser made of a text: calls of sympy's classes and a few functions, on constants.

    Args:
        source: Python that the parser wrote, or what ``compile_algebra`` returned for it.
        scope: The names that it gives the text; those that are no algebra are left out.
        scopes: Its own further names.

    Raises:
        ValueError: It holds more than calls and operators.
    """
    from sympy import Basic

    if isinstance(source, str):
        source = compile_algebra(ast.parse(source.strip(), mode="eval"))
    algebra = {
        name: value
        for name, value in scope.items()
        if name in _FUNCTIONS or isinstance(value, Basic) or (isinstance(value, type) and issubclass(value, Basic))
    }
    return builtins.eval(source, algebra | {"__builtins__": {}}, *scopes)


def compile_algebra(tree: ast.Expression, *arguments: Any) -> Any:
    """Compile an expression that holds nothing but algebra.

    Raises:
        ValueError: It holds more, e.g. an attribute or a lambda.

    Example:
        >>> compile_algebra(ast.parse("().__class__", mode="eval"))
        Traceback (most recent call last):
        ValueError: an expression with Attribute is no algebra
    """
    for node in ast.walk(tree):
        if not isinstance(node, _SYNTAX):
            raise ValueError(f"an expression with {type(node).__name__} is no algebra")
    return builtins.compile(tree, *(arguments or ("<answer>", "eval")))
