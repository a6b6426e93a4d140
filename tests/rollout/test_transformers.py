import pytest
import torch

from mapo.functional.noise import stream_key
from mapo.policies.policy import Lora, Policy
from mapo.rollout.lean import LeanDecoder
from mapo.rollout.padded import PaddedDecoder
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False)


@pytest.fixture(scope="module")
def text_policy(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False)


def encode(policy, raw):
    return [policy.renderer.encode(prompt) for prompt in raw]


@pytest.fixture(scope="module")
def prompts(policy, make_prompt):
    raw = [
        make_prompt("one", (84, 84), sample_id="a"),
        make_prompt("no picture", sample_id="b"),
        make_prompt("two", (60, 200), (30, 30), sample_id="c"),
        make_prompt("a much longer question about one wide picture", (150, 30), sample_id="d"),
        make_prompt("short", (28, 28), sample_id="e"),
    ]
    return encode(policy, raw)


def roll(policy, prompts, *, group_size=4, rows=128, **sampling):
    streams = [stream_key(0, "train", 0, prompt.prompt.sample_id, 0) for prompt in prompts]
    return TransformersEngine(max_batch_rows=rows).generate(
        policy, prompts, group_size=group_size, sampling=Sampling(**sampling), streams=streams
    )


def padded(policy, prompts, capacity, **_):
    """In place of the lean decoder."""
    return PaddedDecoder(policy, prompts, capacity)


def by_sample(rollouts):
    return {
        prompt.prompt.sample_id: [completion.token_ids.tolist() for completion in group]
        for prompt, group in zip(rollouts.prompts, rollouts.completions, strict=True)
    }


def hf_greedy(policy, prompts, limit):
    """Transformers' own greedy decoding of one left-padded batch."""
    from mapo.policies.batching import collate

    nothing = [torch.tensor([], dtype=torch.int64)] * len(prompts)
    batch = collate(
        prompts,
        nothing,
        policy.positions(prompts),
        pad_id=policy.renderer.pad_id,
        side="left",
        device=torch.device("cpu"),
    )
    del batch["position_ids"]
    policy.model.eval()
    output = policy.model.generate(
        **batch, do_sample=False, max_new_tokens=limit, suppress_tokens=list(policy.renderer.banned_ids)
    )
    return [row.tolist() for row in output[:, batch["input_ids"].shape[1] :]]


def cut(ids, ends):
    stops = [place for place, token in enumerate(ids) if token in ends]
    return ids[: stops[0] + 1] if stops else ids


@pytest.mark.parametrize("rows", [1, 2, 128])
def test_greedy_is_that_of_transformers_with_images(policy, prompts, rows):
    ours = roll(policy, prompts, group_size=1, rows=rows, temperature=0.0, max_completion_tokens=40)
    theirs = [cut(ids, policy.renderer.eos_ids) for ids in hf_greedy(policy, prompts, 40)]
    assert list(by_sample(ours).values()) == [[ids] for ids in theirs]
    assert any(len(ids) < 40 for ids in theirs)  # some end by themselves, or the end of sequence is not tested
    assert ours.temperature == 1.0


def test_greedy_is_that_of_transformers_on_text(text_policy, make_prompt):
    raw = [make_prompt(text, sample_id=text) for text in ("hi", "what is the area", "x", "one two three four")]
    prompts = encode(text_policy, raw)
    ours = roll(text_policy, prompts, group_size=1, temperature=0.0, max_completion_tokens=40)
    theirs = [cut(ids, text_policy.renderer.eos_ids) for ids in hf_greedy(text_policy, prompts, 40)]
    assert [ids for (ids,) in by_sample(ours).values()] == theirs


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 5, "temperature": 1.3}])
def test_layout_of_the_batch_changes_nothing(policy, prompts, settings):
    settings = settings | {"max_completion_tokens": 20}
    expected = by_sample(roll(policy, prompts, **settings))
    assert len({tuple(ids) for group in expected.values() for ids in group}) > 10
    for rows in (1, 3, 7, 11, None):
        assert by_sample(roll(policy, prompts, rows=rows, **settings)) == expected
    assert by_sample(roll(policy, prompts[::-1], **settings)) == expected
    assert by_sample(roll(policy, prompts[1:3], **settings)) == {name: expected[name] for name in ("b", "c")}
    larger = by_sample(roll(policy, prompts, group_size=6, **settings))
    assert {name: group[:4] for name, group in larger.items()} == expected


def test_global_random_state_is_neither_read_nor_changed(policy, prompts):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = by_sample(roll(policy, prompts, max_completion_tokens=10))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert by_sample(roll(policy, prompts, max_completion_tokens=10)) == first


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5, "top_p": 0.8}, {"temperature": 0.0}])
def test_log_probs_are_those_of_scoring(policy, prompts, settings):
    rollouts = roll(policy, prompts, max_completion_tokens=30, **settings)
    rows = [(prompt, c.token_ids) for prompt, g in zip(prompts, rollouts.completions, strict=True) for c in g]
    with torch.no_grad():
        scores = policy.score(*map(list, zip(*rows, strict=True)), temperature=rollouts.temperature).logprobs
    sampled = [logprobs for group in rollouts.sampling_logprobs for logprobs in group]
    for score, logprobs in zip(scores, sampled, strict=True):
        torch.testing.assert_close(score[: len(logprobs)], logprobs, atol=1e-4, rtol=0)


def test_records_say_how_a_completion_ended(policy, prompts):
    rollouts = roll(policy, prompts, group_size=8, max_completion_tokens=12)
    completions = [c for group in rollouts.completions for c in group]
    assert {c.truncated for c in completions} == {True, False}
    for completion in completions:
        ends = [int(token) in policy.renderer.eos_ids for token in completion.token_ids]
        assert not any(ends[:-1])
        assert ends[-1] is not completion.truncated
        assert len(ends) == 12 or not completion.truncated
        assert completion.text == policy.renderer.decode(completion.token_ids)
        assert "<|" not in completion.text
        assert not set(completion.token_ids.tolist()) & set(policy.renderer.banned_ids)
    assert [[len(lp) for lp in g] for g in rollouts.sampling_logprobs] == [
        [len(c.token_ids) for c in g] for g in rollouts.completions
    ]


def test_prompt_and_images_pass_through_the_model_once(policy, prompts):
    towers, prefills = [], []
    hooks = [
        policy.model.model.visual.register_forward_hook(lambda *_: towers.append(1)),
        policy.model.model.language_model.register_forward_pre_hook(
            lambda _, args, kwargs: prefills.append(kwargs["inputs_embeds"].shape), with_kwargs=True
        ),
    ]
    roll(policy, prompts, group_size=6, rows=2, max_completion_tokens=1)
    for hook in hooks:
        hook.remove()
    assert len(towers) == 4  # the fifth prompt has no picture
    assert [shape[0] for shape in prefills] == [1] * 5


def rows_per_step(monkeypatch, decoder, run):
    """The sizes of the batches that a decoder advances in a run."""
    sizes, advance = [], decoder.advance
    monkeypatch.setattr(decoder, "advance", lambda self, tokens: sizes.append(len(tokens)) or advance(self, tokens))
    return run(), sizes


@pytest.mark.parametrize("decoder", [LeanDecoder, PaddedDecoder])
def test_finished_rows_leave_the_batch(monkeypatch, policy, prompts, decoder):
    roll(policy, prompts, max_completion_tokens=1)  # the first rollout compares the decoders
    if decoder is PaddedDecoder:
        monkeypatch.setattr("mapo.rollout.transformers.LeanDecoder", padded)
    rollouts, sizes = rows_per_step(
        monkeypatch, decoder, lambda: roll(policy, prompts, group_size=8, max_completion_tokens=60)
    )
    lengths = torch.tensor([len(c.token_ids) for group in rollouts.completions for c in group])
    running = [int((lengths > step).sum()) for step in range(1, int(lengths.max()))]
    assert len(sizes) == len(running)
    assert all(alive <= size <= alive * 8 / 7 + 1 for alive, size in zip(running, sizes, strict=True))


def test_mode_is_restored_also_after_an_error(policy, prompts):
    policy.train()
    policy.model.model.visual.eval()
    with pytest.raises(ValueError, match="one stream per prompt"):
        TransformersEngine().generate(policy, prompts, group_size=2, sampling=Sampling(), streams=[1])
    roll(policy, prompts[:1], max_completion_tokens=2)
    assert policy.model.model.language_model.training
    assert not policy.model.model.visual.training
    policy.train()


def test_update_under_autocast_gets_its_gradient(tiny_vl_path, make_prompt):
    policy = Policy(path=str(tiny_vl_path)).load_model(reference=False)
    prompts = encode(policy, [make_prompt("one", (56, 56), sample_id="a")])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rollouts = roll(policy, prompts, group_size=2, max_completion_tokens=5)
        ids = [completion.token_ids for completion in rollouts.completions[0]]
        scores = policy.score(prompts * 2, ids, temperature=1.0)
    assert rollouts.sampling_logprobs[0][0].dtype == torch.float32
    scores.logprobs.sum().backward()
    assert not [name for name, p in policy.named_parameters() if p.grad is None]


def test_checkpointed_lora_policy_samples_with_its_cache(tiny_vl_path, make_prompt):
    policy = Policy(path=str(tiny_vl_path), lora=Lora(rank=2), gradient_checkpointing=True).load_model(reference=True)
    plain = Policy(path=str(tiny_vl_path)).load_model(reference=False)
    prompts = encode(policy, [make_prompt("one", (56, 56), sample_id="a")])
    settings = {"max_completion_tokens": 20}
    assert by_sample(roll(policy, prompts, **settings)) == by_sample(roll(plain, prompts, **settings))


def test_merged_adapters_sample_what_scoring_says(tiny_vl_path, make_prompt):
    policy = Policy(path=str(tiny_vl_path), lora=Lora(rank=2)).load_model(reference=True)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    before = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    (prompt,) = encode(policy, [make_prompt("one", (56, 56), sample_id="a")])
    rollouts = roll(policy, [prompt], max_completion_tokens=20)
    assert trainable == {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert all(torch.equal(parameter, before[name]) for name, parameter in policy.named_parameters())
    ids = [completion.token_ids for completion in rollouts.completions[0]]
    with torch.no_grad():
        scores = policy.score([prompt] * 4, ids, temperature=1.0).logprobs
        with policy.as_reference():
            base = policy.score([prompt] * 4, ids, temperature=1.0).logprobs
    for row, values in enumerate(rollouts.sampling_logprobs[0]):
        torch.testing.assert_close(scores[row, : len(values)], values, atol=1e-4, rtol=0)
    assert (scores - base).abs().max() > 0.1


def test_rollouts_fit_the_free_memory(policy, prompts, monkeypatch):
    expected = by_sample(roll(policy, prompts, max_completion_tokens=20))
    longest = max(prompts, key=lambda prompt: len(prompt.input_ids))
    sizes = {}
    for free in (100_000, 200_000, 10**9):
        monkeypatch.setattr("mapo.rollout.transformers.free_memory", lambda device, free=free: free)
        with monkeypatch.context() as patch:
            found, steps = rows_per_step(patch, LeanDecoder, lambda: roll(policy, prompts, max_completion_tokens=20))
        assert by_sample(found) == expected
        sizes[free] = max(steps)
    assert 1 <= sizes[100_000] < sizes[200_000] < sizes[10**9] == 20
    monkeypatch.setattr("mapo.rollout.transformers.free_memory", lambda device: 30_000)
    with pytest.raises(ValueError, match=f"sample '{longest.prompt.sample_id}'.*max_completion_tokens"):
        roll(policy, prompts, max_completion_tokens=20)


def test_no_prompts_no_completions(policy):
    assert roll(policy, [], max_completion_tokens=3).completions == ()


def test_batch_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="max_batch_rows must be >= 1, got 0"):
        TransformersEngine(max_batch_rows=0)
