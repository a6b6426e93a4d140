import json
from dataclasses import replace

import pytest
import torch

from mapo.modules.records import EvaluationRecord
from mapo.modules.stored_answers import from_line, join_records, row_digest, split_record, to_line
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

TEXTS = ["plain", "two\nlines \u2028 \x00", "half a pair \ud800", ""]


def encoded(sample_id="row-0", answer="4", **metadata):
    prompt = Prompt(sample_id, ({"role": "user", "content": "2+2?"},), (), answer, metadata)
    pixels = {"pixel_values": torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)}
    return EncodedPrompt(prompt, torch.tensor([5, 6, 7]), pixels, "<think>\n")


def record(num_prompts=3, num=2):
    prompts = tuple(encoded(f"row-{i}") for i in range(num_prompts))
    generator = torch.Generator().manual_seed(1)

    def group(row, prompt):
        texts = [TEXTS[(row + g) % len(TEXTS)] for g in range(num)]
        return tuple(
            Completion(prompt.prompt, prompt.prefill, text, torch.arange(row + g), g == 1)
            for g, text in enumerate(texts)
        )

    logprobs = tuple(tuple(-torch.rand(row + g, generator=generator) for g in range(num)) for row in range(num_prompts))
    logprobs[-1][-1][0] = -torch.inf
    values = torch.rand(num_prompts, num, generator=generator)
    unscored = values.clone()
    unscored[0, 0] = torch.nan
    return EvaluationRecord(
        "val",
        "grid",
        "sampled",
        Rollouts(prompts, tuple(group(*item) for item in enumerate(prompts)), logprobs, 0.7),
        Scores(values, values > 0.5, values / 3, ~unscored.isnan(), {"math_answer": values, "judge": unscored}),
    )


def assert_same(mine, theirs):
    assert (mine.stage, mine.set_name, mine.mode) == (theirs.stage, theirs.set_name, theirs.mode)
    assert [p.prompt for p in mine.rollouts.prompts] == [p.prompt for p in theirs.rollouts.prompts]
    assert mine.rollouts.temperature == theirs.rollouts.temperature
    for here, there in zip(mine.rollouts.completions, theirs.rollouts.completions, strict=True):
        for a, b in zip(here, there, strict=True):
            assert (a.prompt, a.prefill, a.text, a.truncated) == (b.prompt, b.prefill, b.text, b.truncated)
            assert_exact(a.token_ids, b.token_ids)
    for here, there in zip(mine.rollouts.sampling_logprobs, theirs.rollouts.sampling_logprobs, strict=True):
        for a, b in zip(here, there, strict=True):
            assert_exact(a, b)
    for name in ("rewards", "success", "accuracy", "valid"):
        assert_exact(getattr(mine.scores, name), getattr(theirs.scores, name))
    assert list(mine.scores.components) == list(theirs.scores.components)
    for name, values in mine.scores.components.items():
        assert_exact(values, theirs.scores.components[name])


def assert_exact(mine, theirs):
    assert mine.dtype == theirs.dtype
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_joining_what_was_split_gives_the_batch_back():
    whole = record()
    parts = split_record(whole)
    assert [part.rollouts.prompts[0].prompt.sample_id for part in parts] == ["row-0", "row-1", "row-2"]
    assert_same(join_records(parts), whole)


def test_a_line_brings_its_record_back_to_the_bit():
    for part in split_record(record()):
        line = json.loads(json.dumps(to_line(part)))
        assert_same(from_line(line, "val", part.rollouts.prompts[0]), part)


def test_a_line_is_one_line():
    for part in split_record(record()):
        assert b"\n" not in json.dumps(to_line(part)).encode()  # nor the lone surrogate, which UTF-8 cannot say


@pytest.mark.parametrize(
    "changed",
    [
        encoded(answer="5"),
        encoded("row-1"),
        encoded(choices=["4", "5"]),
        replace(encoded(), input_ids=torch.tensor([5, 6, 8])),
        replace(encoded(), prefill=""),
        replace(encoded(), features={}),
        replace(encoded(), features={"pixel_values": encoded().features["pixel_values"] + 1}),
    ],
    ids=["answer", "sample id", "metadata", "tokens", "prefill", "no pixels", "pixels"],
)
def test_another_question_or_answer_has_another_digest(changed):
    assert row_digest(changed) != row_digest(encoded())
    assert row_digest(encoded()) == row_digest(encoded())
