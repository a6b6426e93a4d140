import ast
import subprocess
import sys

import pytest

from mapo.rewards.restricted_eval import compile_algebra, read_value
from mapo.rewards.verifier import Verifier

PARSE = """
import sys
from sympy.parsing.sympy_parser import parse_expr
from mapo.rewards.restricted_eval import restrict_sympy
restrict_sympy()
for source in sys.stdin.read().split("\\x00"):
    for evaluate in (True, False):
        try:
            print(parse_expr(source, evaluate=evaluate))
        except Exception as error:
            print(type(error).__name__)
"""


def parse(*sources):
    script = subprocess.run([sys.executable, "-c", PARSE], input="\0".join(sources), capture_output=True, text=True)
    return script.stdout.splitlines()


def test_algebra_is_parsed_as_before():
    assert parse("2*x + 1", "sqrt(8)", "3 < 4", "factorial(3)", "sin(pi)", "[1, 2]") == [
        *("2*x + 1", "2*x + 1"),
        *("2*sqrt(2)", "sqrt(8)"),
        *("True", "3 < 4"),
        *("6", "6"),
        *("0", "sin(pi)"),
        *("[1, 2]", "[1, 2]"),
    ]


def test_a_text_cannot_reach_the_interpreter(tmp_path):
    file = tmp_path / "written"
    attacks = (
        f"open('{file}', 'w')",
        f"__import__('os').system('touch {file}')",
        f"().__class__.__base__.__subclasses__()[0]('{file}')",
        f"(lambda: open('{file}', 'w'))()",
        f"[open('{file}', 'w') for x in (1,)]",
        f'exec(\'open("{file}", "w")\')',
        f"Symbol('x').subs(1, 2).__class__, open('{file}', 'w')",
        f'Add(\'__import__("os").system("touch {file}")\', 1)',  # sympy's classes parse the texts they are given
    )
    printed = parse(*attacks)
    assert not file.exists()
    assert len(printed) >= 2 * len(attacks)
    assert not [line for line in printed if "os" in line.split()]


@pytest.mark.parametrize("rule", ["math_verify", "mathruler"])
def test_an_answer_to_a_worker_is_not_run(rule, tmp_path):
    pytest.importorskip(rule)
    file = tmp_path / "written"
    verifier = Verifier(rule=rule, timeout=20, num_workers=1)
    verdicts = verifier.verify(
        [("2", f"open('{file}','w')"), ("2", f"[open('{file}','w')][0]"), (r"\frac{1}{2}", "0.5")]
    )
    verifier.close()
    assert verdicts[2] is True
    assert True not in verdicts[:2]
    assert not file.exists()


def test_values_are_read_and_programs_are_not():
    assert read_value(" {'a': (1, 2.5)} ") == {"a": (1, 2.5)}
    assert read_value("2**10 % 7") == 2
    for source in ("open('x')", "[].append", "__import__('os')", "1 if True else 2"):
        with pytest.raises((ValueError, SyntaxError, NameError)):
            read_value(source)


@pytest.mark.parametrize(
    "source", ["x.y", "x[0]", "lambda: 0", "[x for x in y]", "f'{x}'", "(y := 1)", "x if y else z"]
)
def test_syntax_that_is_no_algebra_is_refused(source):
    with pytest.raises(ValueError, match="is no algebra"):
        compile_algebra(ast.parse(source, mode="eval"))
