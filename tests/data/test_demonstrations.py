from collections import Counter
from random import Random

import pytest

from mapo.data import demonstrations, drawn_faces, grid_rectangles, plane_figures
from mapo.data.demonstrations import WarmStartDemonstrations, badly_formatted, completion, mixed_completion, slip
from mapo.data.problem import Solution, draw_problems
from mapo.rewards.label import LabelMatch
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.think_format import ThinkFormat
from mapo.types import Completion, Prompt

FAMILIES = [grid_rectangles.FAMILY, drawn_faces.FAMILY, plane_figures.FAMILY]


@pytest.fixture(autouse=True)
def small_pools(monkeypatch) -> None:
    monkeypatch.setattr(
        demonstrations, "_FAMILIES", [(family, 12, share) for family, share in zip(FAMILIES, (3, 2, 3), strict=True)]
    )


def answered(row: Prompt, text: str) -> Completion:
    return Completion(prompt=row, prefill="", text=text, token_ids=None, truncated=False)


def test_clean_demonstrations_earn_every_reward() -> None:
    data = WarmStartDemonstrations(num_eval=8)
    data.setup("fit")
    rows = [row for rows in data.eval_sets.values() for row in rows]
    assert len(rows) == 6 * 8
    completions = [answered(row, row.metadata["completion"]) for row in rows]
    assert set(ThinkFormat()(completions)) == {1.0}
    labels = [c for c in completions if "choices" in c.prompt.metadata]
    numbers = [c for c in completions if "choices" not in c.prompt.metadata]
    assert set(LabelMatch()(labels)) == set(MathAnswer()(numbers)) == {1.0}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_slip_has_the_right_thought_and_a_wrong_end(family) -> None:
    for problem in draw_problems(family, "train", 20, 0):
        thought, answer = slip(problem, Random(0))
        assert answer != problem.worked.answer
        start = problem.worked.thought.rpartition("=")[0] or problem.worked.thought
        assert thought.startswith(start)


def test_bad_format_never_earns_the_format_reward() -> None:
    row = Prompt("0", (), (), "24", {})
    texts = {badly_formatted(Solution("4*6=24", "24"), Random(seed)) for seed in range(30)}
    assert len(texts) == 3
    assert set(ThinkFormat()([answered(row, text) for text in texts])) == {0.0}


def test_mixed_completions_are_right_about_a_third_of_the_time() -> None:
    problem, rng = draw_problems(plane_figures.FAMILY, "train", 1, 0)[0], Random(0)
    texts = [mixed_completion(problem, rng) for _ in range(2000)]
    right = sum(text == completion(problem.worked) for text in texts) / len(texts)
    assert 0.25 < right < 0.35  # 35 % right, of which 15 % lose their format


def test_the_curriculum_goes_from_clean_to_mixed_in_batches_of_every_family() -> None:
    data = WarmStartDemonstrations(clean_steps=3, mixed_steps=2, batch_size=16, num_eval=1)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 5
    for batch in batches:
        families = Counter(row.sample_id.partition("/")[0] for row in batch)
        assert families == {"grid_rectangles": 6, "drawn_faces": 4, "plane_figures": 6}
    clean = [
        completion(data.problems[row.sample_id].worked) == row.metadata["completion"] for b in batches for row in b
    ]
    assert all(clean[:48])
    assert not all(clean[48:])


def test_the_curriculum_is_the_same_in_every_run() -> None:
    def texts() -> list[str]:
        data = WarmStartDemonstrations(clean_steps=1, mixed_steps=2, batch_size=8, num_eval=1)
        data.setup("fit")
        return [row.metadata["completion"] for batch in data.train_dataloader() for row in batch]

    assert texts() == texts()


def test_batches_that_do_not_divide_into_quarters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of 8 .* got 30"):
        WarmStartDemonstrations(batch_size=30)
    with pytest.raises(ValueError, match="not both 0"):
        WarmStartDemonstrations(clean_steps=0, mixed_steps=0)
