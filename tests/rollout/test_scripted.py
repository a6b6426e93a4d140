import json

import pytest
import torch

from mapo.policies.policy import Policy
from mapo.rollout.scripted import ScriptedEngine
from mapo.types import Sampling

SCRIPT = {"a": ["yes", {"text": "never end", "truncated": True}, [5, 6, 7], "spare"], "b": ["no", "no", ""]}


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False)


@pytest.fixture(scope="module")
def prompts(policy, make_prompt):
    raw = [make_prompt("one", (56, 56), sample_id="a"), make_prompt("two", sample_id="b")]
    return [policy.renderer.encode(prompt) for prompt in raw]


def replay(engine, policy, prompts, *, group_size=3, **sampling):
    return engine.generate(policy, prompts, group_size=group_size, sampling=Sampling(**sampling), streams=[0, 0])


def test_script_is_replayed_with_the_log_probs_of_the_policy(policy, prompts):
    rollouts = replay(ScriptedEngine(completions=SCRIPT), policy, prompts, temperature=0.5)
    assert [[c.text for c in group] for group in rollouts.completions] == [
        ["yes", "never end", "456"],
        ["no", "no", ""],
    ]
    assert [[c.truncated for c in group] for group in rollouts.completions] == [[False, True, True], [False] * 3]
    assert rollouts.temperature == 0.5
    for prompt, group, logprobs in zip(prompts, rollouts.completions, rollouts.sampling_logprobs, strict=True):
        for completion, values in zip(group, logprobs, strict=True):
            with torch.no_grad():
                expected = policy.score([prompt], [completion.token_ids], temperature=0.5).logprobs[0]
            torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)


def test_file_gives_what_the_mapping_gives(policy, prompts, tmp_path):
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps({"sample_id": k, "completions": v}) + "\n" for k, v in SCRIPT.items()) + "\n")
    replayed = [
        replay(e, policy, prompts) for e in (ScriptedEngine(completions=SCRIPT), ScriptedEngine(path=str(path)))
    ]
    texts = [[c.token_ids.tolist() for group in rollouts.completions for c in group] for rollouts in replayed]
    assert texts[0] == texts[1]


def test_banned_token_names_the_sample(policy, prompts):
    banned = policy.renderer.banned_ids[0]
    engine = ScriptedEngine(completions=SCRIPT | {"b": [[5], [banned], [6]]})
    with pytest.raises(ValueError, match=f"'b' holds the banned token {banned}"):
        replay(engine, policy, prompts)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"a": ["x"] * 3}, "'b' has 0 scripted completions, but group_size is 3"),
        (SCRIPT | {"b": ["x"]}, "'b' has 1 scripted completions"),
        (SCRIPT | {"b": ["x", 7, "y"]}, "'b' has the scripted completion 7"),
        (
            SCRIPT | {"b": ["x" * 99] * 3},
            "'b' has a scripted completion of 100 tokens, more than max_completion_tokens=50",
        ),
    ],
)
def test_script_that_does_not_fit_names_the_sample(policy, prompts, script, message):
    with pytest.raises(ValueError, match=message):
        replay(ScriptedEngine(completions=script), policy, prompts, max_completion_tokens=50)


def test_bad_line_is_named(policy, prompts, tmp_path):
    path = tmp_path / "script.jsonl"
    path.write_text('{"sample_id": "a", "completions": ["x"]}\n{"sample_id": "b"}\n')
    with pytest.raises(ValueError, match=r"script\.jsonl:2"):
        replay(ScriptedEngine(path=str(path)), policy, prompts, group_size=1)


@pytest.mark.parametrize("settings", [{}, {"completions": {}, "path": "x"}, {"path": "no/such/file.jsonl"}])
def test_exactly_one_source_that_exists(settings):
    with pytest.raises(ValueError, match=r"ScriptedEngine.*path"):
        ScriptedEngine(**settings)
