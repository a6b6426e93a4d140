from random import Random

import pytest
from PIL import Image

from mapo.data import drawn_faces, grid_rectangles, plane_figures
from mapo.data.problem import Family, Problem, Solution, Split, content_hash, draw_problems, draw_prompts

FAMILIES = [grid_rectangles.FAMILY, drawn_faces.FAMILY, plane_figures.FAMILY]
by_name = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def keys(family: Family, split: str, num: int, seed: int = 0) -> set[int]:
    return {content_hash(p.question, p.image) for p in draw_problems(family, split, num, seed)}


@by_name
def test_validation_shares_no_problem_with_any_training_split(family: Family) -> None:
    validated = keys(family, "val", 48) | keys(family, "out_of_domain", 48)
    for seed in range(2):
        assert not validated & keys(family, "train", 100, seed)
        assert not validated & keys(family, "warm_start", 100, seed)


@by_name
def test_the_sides_differ_by_content_not_by_chance(family: Family) -> None:
    for split, (kinds, held_out) in family.splits.items():
        assert all((key % 4 == 0) == held_out for key in keys(family, split, 3 * len(kinds)))


@by_name
def test_out_of_domain_and_hard_kinds_are_never_trained_on(family: Family) -> None:
    splits = family.splits
    assert set(splits["val"].kinds) == set(splits["train"].kinds)
    assert not set(splits["out_of_domain"].kinds) & set(splits["train"].kinds)
    assert set(splits["out_of_domain"].kinds) <= set(splits["warm_start"].kinds)
    assert not set(splits["hard"].kinds) & (set(splits["warm_start"].kinds) | set(splits["train"].kinds))


@by_name
def test_rows_are_the_same_in_every_run_and_all_different(family: Family) -> None:
    rows, again, other = (draw_prompts(family, "train", 24, seed) for seed in (0, 0, 1))
    assert [row.messages for row in rows] == [row.messages for row in again]
    assert [[i.tobytes() for i in row.images] for row in rows] == [[i.tobytes() for i in row.images] for row in again]
    assert len(keys(family, "train", 24)) == 24
    assert keys(family, "train", 24) != keys(family, "train", 24, seed=1)
    assert not {row.sample_id for row in rows} & {row.sample_id for row in other}


@by_name
def test_a_longer_split_begins_with_the_shorter_one(family: Family) -> None:
    short, long = draw_prompts(family, "val", 6, 0), draw_prompts(family, "val", 12, 0)
    assert [row.answer for row in short] == [row.answer for row in long[:6]]


@by_name
def test_a_misreading_reasons_well_to_another_answer_or_the_same(family: Family) -> None:
    problems = draw_problems(family, "train", 30, 0)
    assert all(problem.misread != problem.worked for problem in problems)
    wrong = sum(problem.misread.answer != problem.worked.answer for problem in problems)
    assert wrong >= 28  # off-by-one readings can happen to give the same answer


def test_the_hash_sees_text_and_pixels() -> None:
    white, black = Image.new("RGB", (2, 2), "white"), Image.new("RGB", (2, 2), "black")
    assert (
        len({content_hash("a", white), content_hash("a", black), content_hash("b", white), content_hash("a", None)})
        == 4
    )


def test_unknown_splits_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"split must be one of .*'val'.* got 'valid'"):
        draw_problems(grid_rectangles.FAMILY, "valid", 1, 0)


def test_more_problems_than_there_are_is_an_error_not_a_repetition() -> None:
    def draw(kind: str, rng: Random) -> Problem:
        answer = str(rng.randint(1, 5))
        return Problem(kind, answer, None, (), Solution("", answer), Solution("", answer))

    family = Family("five", {"train": Split(("only",), held_out=False)}, draw)
    with pytest.raises(ValueError, match=r"five has only . different problems of kind 'only'"):
        draw_problems(family, "train", 50, 0)
    assert len(draw_problems(family, "train", 50, 0, distinct=False)) == 50
