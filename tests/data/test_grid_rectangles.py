from random import Random

import pytest

from mapo.data.grid_rectangles import GridRectangles, draw, rectangle_prompts


def coloured_cells(image) -> int:
    """Count cells whose middle is coloured: what a person would do."""
    middles = [(7 + 14 * x, 7 + 14 * y) for x in range(6) for y in range(6)]
    return sum(image.getpixel(middle) != (255, 255, 255) for middle in middles)


@pytest.mark.parametrize("seed", range(20))
def test_the_picture_shows_the_area_that_is_asked_for(seed: int) -> None:
    problem = draw("area", Random(seed))
    assert problem.image.size == (84, 84)
    assert coloured_cells(problem.image) == int(problem.worked.answer)


@pytest.mark.parametrize("seed", range(20))
def test_the_bars_are_as_high_as_their_sum_says(seed: int) -> None:
    problem = draw("bars", Random(seed))
    assert coloured_cells(problem.image) == int(problem.worked.answer)


def test_perimeter_and_area_ask_different_things_of_the_same_rectangle() -> None:
    area, perimeter = draw("area", Random(3)), draw("perimeter", Random(3))
    assert area.image.tobytes() == perimeter.image.tobytes()
    assert area.question != perimeter.question
    width, height = map(int, area.worked.thought.partition("=")[0].split("*"))
    assert perimeter.worked.answer == str(2 * (width + height))


def test_rows_carry_picture_answer_and_kind() -> None:
    rows = rectangle_prompts("train", 4)
    assert [row.metadata["kind"] for row in rows] == ["area", "perimeter", "area", "perimeter"]
    assert all(len(row.images) == 1 and row.answer.isdecimal() for row in rows)
    assert rows[0].messages[0]["content"][0] == {"type": "image"}
    assert rows[0].messages[0]["content"][1]["text"].endswith("\\boxed{}.")


def test_the_benchmark_names_its_sets_and_draws_what_it_is_told_to() -> None:
    data = GridRectangles(num_train=10, num_eval=4, batch_size=2, problem_seed=5, instruction="Just answer.")
    data.setup("fit")
    assert data.eval_names == ["grid_rectangles", "grid_rectangles_out_of_domain", "grid_rectangles_hard"]
    assert [len(rows) for rows in data.eval_sets.values()] == [4, 4, 4]
    assert len(data.train_set) == 10
    assert data.train_set[0].sample_id == "grid_rectangles/train/5/0"
    assert data.train_set[0].messages[0]["content"][1]["text"].endswith("Just answer.")


def test_the_training_seed_leaves_the_evaluation_sets_alone() -> None:
    first, second = (GridRectangles(num_train=4, num_eval=4, problem_seed=seed) for seed in (0, 1))
    first.setup("fit"), second.setup("fit")
    assert [row.sample_id for row in first.train_set] != [row.sample_id for row in second.train_set]
    for name in first.eval_names:
        assert [row.answer for row in first.eval_sets[name]] == [row.answer for row in second.eval_sets[name]]


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="num_eval must be >= 1, got 0"):
        GridRectangles(num_eval=0)
