import unicodedata

import pytest

from mapo.data import drawn_faces, grid_rectangles, plane_figures
from mapo.data.demonstrations import completion
from mapo.data.problem import INSTRUCTION, draw_problems
from mapo.policies.builtin_tokenizer import MARKS, SPECIAL_TOKENS, build_tokenizer

TEXTS = [
    "Natalia sold clips to 48 of her friends in April, and then half as many in May.",
    r"In \odot X, $AB = 30$ and $m \widehat{CZ} = 40 ^ { \circ }$. Find $\frac{1}{2} \sqrt { 3 }$.",
    "  spaces   before\tand\r\nafter \n\n\n ",
    "Zwölf Ärzte · 日本語のテキスト · 🙂🙃 · ﬁ ≤ ∠ABC",
    unicodedata.normalize("NFD", "déjà vu"),
    "don't DON'T it's 3.14, -1,000; x^2+y_1={a|b}<think>4*6=24</think>\\boxed{24}",
    "",
    "".join(map(chr, range(32, 127))),
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_back_any_text(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("family", [grid_rectangles.FAMILY, drawn_faces.FAMILY, plane_figures.FAMILY])
def test_every_word_of_the_tasks_is_one_token(tokenizer, family) -> None:
    for problem in draw_problems(family, "warm_start", 40, 0) + draw_problems(family, "hard", 4, 0):
        for text in (problem.question, completion(problem.worked), completion(problem.misread), INSTRUCTION):
            tokens = [token.strip("Ġ") for token in tokenizer.tokenize(text)]
            fragments = [token for token in tokens if token.isalpha() and not _is_word_of(token, text)]
            assert fragments == []


def _is_word_of(token: str, text: str) -> bool:
    letters = "".join(sign if sign.isalpha() else " " for sign in text)
    return token in letters.split()


def test_numbers_are_read_digit_by_digit(tokenizer) -> None:
    assert tokenizer.tokenize("12*10=120") == list("12*10=120")


def test_marks_are_single_tokens_that_decoding_keeps(tokenizer) -> None:
    ids = tokenizer.convert_tokens_to_ids(list(MARKS))
    assert tokenizer.decode(ids, skip_special_tokens=True) == "".join(MARKS)


def test_special_tokens_are_left_out_of_decoded_completions(tokenizer) -> None:
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert tokenizer.decode(ids, skip_special_tokens=True) == ""
