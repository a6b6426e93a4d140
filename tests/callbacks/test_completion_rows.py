import json
from dataclasses import dataclass, replace

import torch

from mapo.callbacks.completion_rows import evaluation_rows, phase_rows
from mapo.modules.records import EvaluationRecord, PhaseRecord
from mapo.rewards.base import Reward
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

NAN = float("nan")


@dataclass(frozen=True)
class Reading(Reward):
    is_accuracy: bool = True
    name = "math_answer"

    def __call__(self, completions):
        return [None] * len(completions)

    def answer(self, completion):
        return completion.text.partition("<")[0] or None


def rollouts(*sample_ids: str) -> Rollouts:
    prompts = [Prompt(sample_id, (), (), f"answer of {sample_id}", {}) for sample_id in sample_ids]
    groups = tuple(
        (
            Completion(prompt, "<think>\n", "short</think>", torch.arange(2), truncated=False),
            Completion(prompt, "<think>\n", "", torch.arange(0), truncated=True),
        )
        for prompt in prompts
    )
    encoded = tuple(EncodedPrompt(prompt, torch.arange(3), {}, "<think>\n") for prompt in prompts)
    return Rollouts(encoded, groups, (), 1.0)


def scores(rewards: list[list[float]], valid: list[list[bool]]) -> Scores:
    values = torch.tensor(rewards).reshape(-1, 2)
    checked = torch.tensor(valid, dtype=torch.bool).reshape(-1, 2)
    component = values.masked_fill(~checked, NAN)
    return Scores(values, values == 1, values, checked, {"math_answer": component})


def test_a_row_belongs_to_its_own_completion():
    record = PhaseRecord(
        7,
        rollouts("a", "b"),
        scores([[0.1, 0.2], [0.3, 1.0]], [[True] * 2] * 2),
        torch.tensor([[-1.0, 1.0], [-2.0, 2.0]]),
    )
    rows = phase_rows(record, epoch=3)
    assert [(row["sample_id"], row["index"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [row["reward"] for row in rows] == [0.1, 0.2, 0.3, 1.0]  # not 0.10000000149011612
    assert [row["advantage"] for row in rows] == [-1.0, 1.0, -2.0, 2.0]
    assert [row["success"] for row in rows] == [False, False, False, True]
    assert {(row["phase"], row["epoch"]) for row in rows} == {(7, 3)}


def test_the_text_includes_what_the_template_had_written():
    record = EvaluationRecord("val", "grid", "greedy", rollouts("a"), scores([[1.0, 0.0]], [[True, True]]))
    first, second = evaluation_rows(record, phase=4)
    assert (first["text"], first["num_tokens"], first["truncated"]) == ("<think>\nshort</think>", 2, False)
    assert (second["text"], second["num_tokens"], second["truncated"]) == ("<think>\n", 0, True)
    assert (first["stage"], first["set"], first["mode"], first["phase"]) == ("val", "grid", "greedy", 4)
    assert first["answer"] == "answer of a"


def test_what_could_not_be_scored_is_null_in_json():
    record = EvaluationRecord("val", "grid", "sampled", rollouts("a"), scores([[1.0, 0.0]], [[True, False]]))
    row = json.loads(json.dumps(evaluation_rows(record, phase=0)[1], allow_nan=False))
    assert row["components"] == {"math_answer": None}
    assert row["valid"] is False


def test_verdict_extracted_answer_and_categories_stand_beside_the_gold_one():
    made = rollouts("a", "b")
    made.prompts[0].prompt.metadata["categories"] = {"level": 5, "skill": ["areas", "angles"], "none": None}
    # right, wrong (half a point is not right), failed, wrong
    record = EvaluationRecord(
        "val", "grid", "sampled", made, scores([[1.0, 0.5], [0.0, 0.0]], [[True, True], [False, True]])
    )
    rows = evaluation_rows(record, phase=0, rewards=[Reading()])
    assert [row["verdict"] for row in rows] == ["right", "wrong", "failed", "wrong"]
    assert [row["extracted_answer"] for row in rows] == ["short", None, "short", None]
    assert [row["categories"] for row in rows] == [{"level": ["5"], "skill": ["angles", "areas"]}] * 2 + [{}] * 2
    assert [row["extracted_answer"] for row in evaluation_rows(record, phase=0)] == [None] * 4


def test_a_component_that_could_not_tell_does_not_take_back_a_verdict():
    made = scores([[1.0, 0.0]], [[True, True]])
    unsure = replace(made, valid=torch.tensor([[False, False]]))
    record = EvaluationRecord("val", "grid", "sampled", rollouts("a"), unsure)
    rows = evaluation_rows(record, phase=0, rewards=[Reading()])
    assert [(row["verdict"], row["valid"]) for row in rows] == [("right", False), ("wrong", False)]


def test_a_rank_without_prompts_has_no_rows():
    record = EvaluationRecord("val", "grid", "sampled", rollouts(), scores([], []))
    assert evaluation_rows(record, phase=0) == []
