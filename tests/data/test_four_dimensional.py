import pytest

from mapo.data.four_dimensional import four_dimensional_score

RIGHT, WRONG = True, False


def test_by_hand():
    """Eight problems: the cases of the table, of two and of three steps."""
    score = four_dimensional_score(
        [
            ([RIGHT, RIGHT], RIGHT),  # complete mastery
            ([RIGHT, RIGHT, RIGHT], RIGHT),  # complete mastery
            ([RIGHT, WRONG], RIGHT),  # strict: rote memorization, loose: complete mastery
            ([WRONG, WRONG, WRONG], RIGHT),  # rote memorization
            ([RIGHT, RIGHT], WRONG),  # inadequate generalization
            ([RIGHT, WRONG], WRONG),  # insufficient knowledge
            ([WRONG, WRONG, RIGHT], WRONG),  # insufficient knowledge
            ([WRONG, WRONG], WRONG),  # insufficient knowledge
        ]
    )
    assert score == {
        "insufficient_knowledge": 3 / 8,
        "inadequate_generalization": 1 / 8,
        "complete_mastery_strict": 2 / 8,
        "rote_memorization_strict": 2 / 4,  # of the four right composite problems
        "score_strict": (2 + 0.5 * 1) / 8,
        "complete_mastery_loose": 3 / 8,
        "rote_memorization_loose": 1 / 4,
        "score_loose": (3 + 0.5 * 1) / 8,
    }


def test_the_authors_form_of_the_score_is_the_same():
    """Theirs is (N - IK - RM - 0.5 IG) / N, of the 525 composite problems of testmini."""
    knowledge, generalization, mastery, memorization = 164, 80, 185, 96
    problems = [([RIGHT, WRONG], WRONG)] * knowledge + [([RIGHT, RIGHT], WRONG)] * generalization
    problems += [([RIGHT, RIGHT], RIGHT)] * mastery + [([WRONG, RIGHT], RIGHT)] * memorization
    score = four_dimensional_score(problems)
    assert score["score_strict"] == pytest.approx((525 - knowledge - memorization - 0.5 * generalization) / 525)
    assert score["rote_memorization_strict"] == pytest.approx(memorization / (mastery + memorization))
    assert score["score_loose"] == pytest.approx((mastery + memorization + 0.5 * generalization) / 525)


def test_edges():
    assert four_dimensional_score([]) == {}
    everything = four_dimensional_score([([RIGHT, RIGHT], RIGHT)] * 3)
    assert (everything["score_strict"], everything["rote_memorization_strict"]) == (1.0, 0.0)
    nothing = four_dimensional_score([([WRONG, WRONG], WRONG)])
    assert (nothing["score_loose"], nothing["rote_memorization_loose"], nothing["insufficient_knowledge"]) == (0, 0, 1)


def test_loose_is_never_below_strict_and_the_order_of_steps_does_not_count():
    score = four_dimensional_score([([RIGHT, WRONG, RIGHT], RIGHT), ([WRONG, RIGHT], RIGHT), ([RIGHT, RIGHT], WRONG)])
    turned = four_dimensional_score([([RIGHT, RIGHT], WRONG), ([RIGHT, WRONG], RIGHT), ([WRONG, RIGHT, RIGHT], RIGHT)])
    assert score == turned
    assert score["score_loose"] > score["score_strict"]
