import pytest

from mapo.rewards.value import number_of, right_side, stated_forms, without_lead_in


@pytest.mark.parametrize(
    "text", ["the answer is 5", "The final answer is: 5", "approximately 5", r"\text{about } 5", "Answer: 5", "5"]
)
def test_words_in_front_of_a_value_go(text):
    assert without_lead_in(text) == "5"


@pytest.mark.parametrize("text", ["about", "nothing 5", r"\text{increasing} (0, 1)"])
def test_words_that_mean_something_stay(text):
    assert without_lead_in(text) == text


def test_an_exact_and_a_rounded_form_are_one_value_and_two_values_are_the_last():
    assert stated_forms(r"\frac{1}{3} \approx 0.33") == [r"\frac{1}{3}", "0.33"]
    assert stated_forms(r"3 \approx 5") == ["5"]
    assert stated_forms(r"x = \sqrt{2} \approx 1.41") == [r"x = \sqrt{2}", "1.41"]
    assert stated_forms("") == [""]


def test_numbers_are_read_from_quantities():
    assert number_of(r"2\sqrt{2} \text{ cm}") == pytest.approx(8**0.5)
    assert number_of("1,250") == 1250
    assert number_of("x") is None
    assert number_of("9" * 400) is None
    assert right_side("x = y = 3") == "3"
