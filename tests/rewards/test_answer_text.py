import pytest

from mapo.rewards.answer_text import clean, key, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"4 \sqrt { 2 }", r"4\sqrt{2}"),
        ("\frac{1}{2}", r"\frac{1}{2}"),  # a form feed
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"$\left( 3, \frac{\pi}{2} \right)$", r"(3,\frac{\pi}{2})"),
        (r"10,\!000", "10,000"),
        (r"10\,000", "10,000"),
        ("10{,}000", "10,000"),
        (r"145^\circ", "145°"),
        (r"145^{\circ}", r"145 ^ \circ"),
        (r"\text{East}", "east."),
        (r"50\%", "50%"),
        (r"x^{2} + 1", "x^2+1"),
        ("New York", r"\text{ new   york }"),
        ("−3", "-3"),
        ("2√{3}", r"2\sqrt{3}"),
        ("16π", r"16\pi"),
        ("x²", "x^2"),
        ("Paris", "PARIS"),
    ],
)
def test_spellings_of_one_answer_share_a_key(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 2", "12"),
        ("1.5", "15"),
        (r"\Delta", r"\delta"),
        ("-3", "3"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        ("x^{12}", "x^12"),
    ],
)
def test_different_answers_keep_different_keys(one, other):
    assert key(one) != key(other)


def test_clean_keeps_the_mathematics():
    assert clean(r"\left\{ 1, 2 \right\}") == r"\{ 1, 2 \}"
    assert clean(r"x \leftarrow y") == r"x \leftarrow y"
    assert clean("a\0b") == "a b"
    assert clean("$5.$") == "5"


@pytest.mark.parametrize("text", ["Sadness", "sadness.", r"\text{Sadness}", '"sadness"', "**Sadness**", " SADNESS\n"])
def test_words_are_free_of_marks(text):
    assert words(text) == "sadness"


@pytest.mark.parametrize(
    "text", ["x", " ", "1", "{", "\\", "\\text{", "\\text{a}", "^ ", "$", "{1}", "1,000,", "\f\t", "not "]
)
def test_a_megabyte_is_read_in_linear_time(text):
    long = text * (1_000_000 // len(text))
    assert len(key(long)) <= len(long)  # a quadratic pattern would not come back
    assert len(words(long)) <= len(long)
