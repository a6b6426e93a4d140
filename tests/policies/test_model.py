import pytest
import torch

from mapo.policies.policy import Lora, Policy

TEXTS = ["abc", "", "hello world", "x"]


@pytest.fixture(scope="module")
def policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=False)


@pytest.fixture
def trainable(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=True)


@pytest.fixture(scope="module")
def prompts(policy, make_prompt):
    raw = [
        make_prompt("one", (84, 84)),
        make_prompt("no picture"),
        make_prompt("two", (60, 200), (30, 30)),
        make_prompt("wide one", (150, 30)),
    ]
    return [policy.renderer.encode(prompt) for prompt in raw]


@pytest.fixture(scope="module")
def completions(policy):
    return [policy.renderer.encode_completion(text, end=bool(text)) for text in TEXTS]


def hf_law(model, prompt, ids, temperature, banned):
    """The law by transformers' own forward on one row."""
    features = dict(prompt.features)
    if "mm_token_type_ids" in features:
        tail = torch.zeros(1, len(ids), dtype=features["mm_token_type_ids"].dtype)
        features["mm_token_type_ids"] = torch.cat([features["mm_token_type_ids"], tail], dim=1)
    sequence = torch.cat([prompt.input_ids, ids])[None]
    logits = model(input_ids=sequence, attention_mask=torch.ones_like(sequence), **features).logits[0]
    logits = logits[len(prompt.input_ids) - 1 : -1].detach() / temperature
    logits[:, list(banned)] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_scores_are_those_of_transformers(policy, prompts, completions, temperature):
    scores = policy.score(prompts, completions, temperature=temperature, entropy=True)
    assert scores.logprobs.dtype == torch.float32
    assert not scores.entropy.requires_grad
    for row, (prompt, ids) in enumerate(zip(prompts, completions, strict=True)):
        law = hf_law(policy.model, prompt, ids, temperature, policy.renderer.banned_ids)
        expected = law.gather(-1, ids[:, None])[:, 0]
        entropy = torch.special.entr(law.exp()).sum(-1)
        torch.testing.assert_close(scores.logprobs[row, : len(ids)], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(scores.entropy[row, : len(ids)], entropy, atol=1e-5, rtol=0)
        assert not scores.logprobs[row, len(ids) :].any()


def test_batch_equals_one_by_one_in_any_order(policy, prompts, completions):
    batched = policy.score(prompts, completions, temperature=1.0).logprobs
    order = [2, 0, 3, 1]
    shuffled = policy.score([prompts[i] for i in order], [completions[i] for i in order], temperature=1.0).logprobs
    torch.testing.assert_close(shuffled, batched[order], atol=1e-5, rtol=0)
    for row in range(4):
        alone = policy.score([prompts[row]], [completions[row]], temperature=1.0).logprobs[0]
        torch.testing.assert_close(alone, batched[row, : len(alone)], atol=1e-5, rtol=0)


def test_language_model_scores_as_transformers(tiny_lm_path, make_prompt):
    policy = Policy(path=str(tiny_lm_path)).load_model(reference=False)
    prompts = [policy.renderer.encode(make_prompt(text)) for text in ("short", "a longer question")]
    completions = [policy.renderer.encode_completion(text) for text in ("long answer", "no")]
    scores = policy.score(prompts, completions, temperature=0.7).logprobs
    for row, (prompt, ids) in enumerate(zip(prompts, completions, strict=True)):
        law = hf_law(policy.model, prompt, ids, 0.7, policy.renderer.banned_ids)
        torch.testing.assert_close(scores[row, : len(ids)], law.gather(-1, ids[:, None])[:, 0], atol=1e-5, rtol=0)


def test_a_group_of_empty_completions_scores_to_nothing(policy, prompts):
    scores = policy.score(prompts[:2], [torch.tensor([], dtype=torch.int64)] * 2, temperature=1.0)
    assert scores.logprobs.shape == (2, 0)


def test_banned_token_is_an_error_that_names_the_sample(policy, make_prompt):
    prompt = policy.renderer.encode(make_prompt("?", sample_id="q8"))
    banned = policy.renderer.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    with pytest.raises(ValueError, match=rf"'q8' holds the banned token {banned} \(<\|image_pad\|>\)"):
        policy.score([prompt], [torch.tensor([5, banned])], temperature=1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(policy, prompts, completions, temperature):
    with pytest.raises(ValueError, match="temperature must be > 0"):
        policy.score(prompts, completions, temperature=temperature)


def test_one_prompt_per_completion(policy, prompts, completions):
    with pytest.raises(ValueError, match="4 and 3"):
        policy.score(prompts, completions[:3], temperature=1.0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_reaches_all_trained_weights(tiny_vl_path, prompts, completions, checkpointing):
    policy = Policy(path=str(tiny_vl_path), gradient_checkpointing=checkpointing).load_model(reference=False)
    policy.score(prompts, completions, temperature=1.0).logprobs.sum().backward()
    assert not [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()]


def test_checkpointing_leaves_the_gradient(tiny_vl_path, prompts, completions):
    gradients = []
    for checkpointing in (False, True):
        policy = Policy(path=str(tiny_vl_path), gradient_checkpointing=checkpointing).load_model(reference=False)
        policy.score(prompts, completions, temperature=1.0).logprobs.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_gradient_checkpointing_recomputes_layers(tiny_vl_path, prompts, completions):
    policy = Policy(path=str(tiny_vl_path), gradient_checkpointing=True).load_model(reference=False)
    calls = []
    policy.model.model.language_model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    policy.score(prompts, completions, temperature=1.0).logprobs.sum().backward()
    assert len(calls) == 2


def change(policy):
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.01 * torch.ones_like(parameter))


def test_reference_stays_what_the_policy_was(trainable, prompts, completions):
    before = trainable.score(prompts, completions, temperature=1.0).logprobs.detach()
    change(trainable)
    with trainable.as_reference():
        reference = trainable.score(prompts, completions, temperature=1.0).logprobs
    assert torch.equal(reference, before)
    assert not reference.requires_grad
    after = trainable.score(prompts, completions, temperature=1.0).logprobs
    assert (after - before).abs().max() > 1e-3


def test_reference_is_in_no_checkpoint_and_no_optimizer(trainable):
    policies = {name for name, _ in trainable.model.named_parameters()}
    assert {name.removeprefix("model.") for name, _ in trainable.named_parameters()} == policies
    trainable.load_state_dict(trainable.state_dict(), strict=True)
    assert set(trainable.state_dict()) == {f"model.{name}" for name in trainable.model.state_dict()}


def test_reference_follows_the_policy_to_another_type(trainable):
    trainable.to(torch.float64)
    assert {p.dtype for p in trainable.reference.parameters()} == {torch.float64}


def test_lora_reference_is_the_base_exactly(tiny_vl_path, prompts, completions):
    policy = Policy(path=str(tiny_vl_path), lora=Lora(rank=4)).load_model(reference=True)
    before = policy.score(prompts, completions, temperature=1.0).logprobs
    for _ in range(2):
        with policy.as_reference():
            assert torch.equal(policy.score(prompts, completions, temperature=1.0).logprobs, before)
        change(policy)
    after = policy.score(prompts, completions, temperature=1.0).logprobs
    assert (after - before).abs().max() > 1e-3
    after.sum().backward()
    assert all(p.grad is not None for p in policy.trainable_parameters())


def test_policy_without_reference_says_so(policy):
    with pytest.raises(ValueError, match="reference=True"), policy.as_reference():
        pass


def test_softcapped_logits_are_scored_softcapped(tiny_lm_path, make_prompt):
    policy = Policy(path=str(tiny_lm_path)).load_model(reference=False)
    prompt = policy.renderer.encode(make_prompt("?"))
    ids = policy.renderer.encode_completion("yes")
    policy.model.config.final_logit_softcapping = 2.0
    logits, _ = policy.next_logits({"input_ids": torch.cat([prompt.input_ids, ids[:1]])[None]})
    assert logits.abs().max() <= 2.0
    logits[:, list(policy.renderer.banned_ids)] = -torch.inf
    score = policy.score([prompt], [ids], temperature=1.0).logprobs[0, 1]
    torch.testing.assert_close(score, logits.log_softmax(-1)[0, ids[1]], atol=1e-5, rtol=0)


def test_mixed_precision_log_probs_are_float32(policy, prompts, completions):
    exact = policy.score(prompts, completions, temperature=1.0).logprobs
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = policy.score(prompts, completions, temperature=1.0).logprobs
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - exact).abs().max() < 1.0
