"""A prompt that is run once for all of its completions gives what a copy in every row gives, gradients included."""

import functools

import pytest
import torch
import transformers

from mapo.policies import shared_prefix, shared_prefix_attention
from mapo.policies.batching import collate
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Lora, Policy

MEDIA = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
VISION = {"depth": 2, "initializer_range": 0.3}
# Ragged, in no order, two of one length, one token alone, none at all.
LENGTHS = (7, 3, 0, 12, 1, 7)


@pytest.fixture(scope="module")
def language_policy(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False)


@pytest.fixture
def vl_policy(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_model(reference=True)


def completions_of(policy, lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor([i for i in range(len(policy.renderer.tokenizer)) if i not in policy.renderer.banned_ids])
    return [allowed[torch.randint(len(allowed), (length,), generator=generator)] for length in lengths]


def rows_of(policy, raw_prompts, lengths=LENGTHS):
    """One group per prompt, the rows of all groups shuffled."""
    encoded = [policy.renderer.encode(prompt) for prompt in raw_prompts]
    prompts = [prompt for prompt in encoded for _ in lengths]
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(1)).tolist()
    return [prompts[row] for row in order], completions_of(policy, [*lengths] * len(encoded))


def switch(policy, shares):
    if shares:
        assert policy.share_prefix() is None
    else:
        policy.shares_prefix = False


def run(policy, rows, *, shares):
    """Return log-probs, entropies and the gradient of a weighted sum of the log-probs."""
    switch(policy, shares)
    policy.zero_grad(set_to_none=True)
    scores = policy.score(*rows, temperature=0.8, entropy=True)
    weights = torch.randn(scores.logprobs.shape, generator=torch.Generator().manual_seed(2))
    (weights.to(scores.logprobs) * scores.logprobs).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.trainable_parameters() if p.grad is not None])
    return scores.logprobs.detach(), scores.entropy, gradient


def tokens_run(policy, rows):
    """Return how many tokens went through the layers."""
    counts = []
    layer = policy._network().get_decoder().layers[0]
    hook = layer.register_forward_hook(lambda module, args, output: counts.append(output.shape[:2].numel()))
    with torch.no_grad():
        policy.score(*rows, temperature=1.0)
    hook.remove()
    return sum(counts)


def check(policy, rows, *, logprobs=1e-5, gradient=1e-5):
    """Compare both ways; tolerances are the largest gap in nats and the relative norm of the gradients' difference."""
    plain, shared = run(policy, rows, shares=False), run(policy, rows, shares=True)
    groups = {id(prompt): (len(prompt.input_ids)) for prompt in rows[0]}
    inner = sum(max(len(ids) - 1, 0) for ids in rows[1])
    assert tokens_run(policy, rows) == sum(groups.values()) + inner
    for a, b in zip(shared[:2], plain[:2], strict=True):
        torch.testing.assert_close(a, b, atol=logprobs, rtol=0)
    assert plain[2].norm() > 0
    assert (shared[2] - plain[2]).norm() <= gradient * plain[2].norm()


def language_model(kind, settings):
    config = getattr(transformers, f"{kind}Config")(**settings, head_dim=16)
    config.sliding_window = None
    return getattr(transformers, f"{kind}ForCausalLM")(config)


def media_ids(tokenizer):
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in MEDIA.items()}


def qwen2_vl(text, tokenizer):
    vision = VISION | {"embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    config = transformers.Qwen2VLConfig(
        text_config=text | {"rope_parameters": ROPE}, vision_config=vision, **media_ids(tokenizer)
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def qwen3_vl(text, tokenizer):
    vision = VISION | {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    config = transformers.Qwen3VLConfig(
        text_config=text | {"rope_parameters": ROPE, "head_dim": 16},
        vision_config=vision | {"patch_size": 16, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
        **media_ids(tokenizer),
    )
    return transformers.Qwen3VLForConditionalGeneration(config)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_language_models(kind, language_policy, tiny_text_settings, make_prompt):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = PolicyModel(language_model(kind, tiny_text_settings), language_policy.renderer)
    check(policy, rows_of(policy, [make_prompt("what is the area?")]))


IMAGES = {
    "one image": [((84, 84),)],
    "several images of different sizes": [((60, 200), (30, 30), (84, 56))],
    "groups with and without images": [((84, 84),), (), ((40, 40), (150, 30))],
}


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_images(images, vl_policy, make_prompt):
    prompts = [make_prompt(f"question {index}", *sizes) for index, sizes in enumerate(images)]
    check(vl_policy, rows_of(vl_policy, prompts))


@pytest.mark.parametrize(("build", "patch"), [(qwen2_vl, 14), (qwen3_vl, 16)])
def test_other_vision_language_models(build, patch, save_tiny, tiny_text_settings, tiny_tokenizer, make_prompt):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(tiny_text_settings, tiny_tokenizer)
    images = transformers.Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=28 * 28, max_pixels=128 * 128)
    policy = Policy(path=str(save_tiny(model, images))).load_model(reference=False)
    prompts = [make_prompt("one", (96, 96)), make_prompt("none"), make_prompt("two", (60, 200), (40, 40))]
    check(policy, rows_of(policy, prompts))


def norms_in_double_precision(network):
    """Replace the layers' norms, which compute in float32 whatever the weights are."""

    def forward(norm, states):
        return norm.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)

    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = functools.partial(forward, module)


@pytest.mark.parametrize(
    "recipe", [{}, {"lora": Lora(rank=4)}, {"gradient_checkpointing": True}], ids=["full", "lora", "recomputed"]
)
def test_double_precision_leaves_no_doubt(recipe, tiny_vl_path, make_prompt):
    # The vision tower rotates in float32, too, so it stays as it is.
    policy = Policy(path=str(tiny_vl_path), freeze_vision=True, **recipe).load_model(reference=False).to(torch.float64)
    norms_in_double_precision(policy)
    with torch.no_grad():
        for parameter in policy.trainable_parameters() if "lora" in recipe else ():
            parameter.add_(0.02)
    prompts = [make_prompt("one", (84, 84)), make_prompt("no"), make_prompt("two", (60, 200), (30, 30))]
    check(policy, rows_of(policy, prompts), logprobs=1e-12, gradient=1e-10)


@pytest.mark.parametrize("lengths", [(0, 5), (1, 1), (1, 4, 1), (9, 9, 9), (2, 0, 2)], ids=str)
def test_short_and_equal_completions(lengths, language_policy, make_prompt):
    check(language_policy, rows_of(language_policy, [make_prompt("short"), make_prompt("?")], lengths))


def test_groups_of_empty_completions(language_policy, make_prompt):
    prompts, _ = rows_of(language_policy, [make_prompt("short")], (0, 0))
    switch(language_policy, True)
    scores = language_policy.score(prompts, completions_of(language_policy, (0, 0)), temperature=1.0)
    assert scores.logprobs.shape == (2, 0)
    scores.logprobs.sum().backward()


def test_a_group_may_be_scored_in_slices(language_policy, make_prompt):
    prompts, ids = rows_of(language_policy, [make_prompt("what?")])
    switch(language_policy, True)
    whole = language_policy.score(prompts, ids, temperature=1.0).logprobs
    for start in (0, 3):
        part = language_policy.score(prompts[start : start + 3], ids[start : start + 3], temperature=1.0).logprobs
        torch.testing.assert_close(part, whole[start : start + 3, : part.shape[1]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_lora_and_gradient_checkpointing(lora, checkpointing, tiny_vl_path, make_prompt):
    recipe = Policy(path=str(tiny_vl_path), lora=lora, gradient_checkpointing=checkpointing)
    policy = recipe.load_model(reference=False)
    with torch.no_grad():
        for parameter in policy.trainable_parameters() if lora else ():
            parameter.add_(0.02)  # adapters start as no change at all
    check(policy, rows_of(policy, [make_prompt("one", (84, 84)), make_prompt("no")]))


def test_gradient_checkpointing_changes_no_bit(tiny_vl_path, make_prompt):
    gradients = []
    for checkpointing in (False, True):
        policy = Policy(path=str(tiny_vl_path), gradient_checkpointing=checkpointing).load_model(reference=False)
        gradients.append(run(policy, rows_of(policy, [make_prompt("one", (84, 84))]), shares=True)[2])
    assert torch.equal(*gradients)


def test_plain_rows_recomputed_after_a_pack_stay_plain(tiny_lm_path, make_prompt):
    policy = Policy(path=str(tiny_lm_path), gradient_checkpointing=True).load_model(reference=False)
    rows = rows_of(policy, [make_prompt("what?")])
    expected = run(policy, rows, shares=False)[2]
    policy.zero_grad(set_to_none=True)
    switch(policy, False)
    plain = policy.score(*rows, temperature=0.8).logprobs
    switch(policy, True)
    policy.score(*rows, temperature=0.8)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(2))
    (weights * plain).sum().backward()
    assert torch.equal(torch.cat([p.grad.flatten() for p in policy.parameters()]), expected)


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["copy", "adapter off"])
def test_reference(lora, tiny_vl_path, make_prompt):
    policy = Policy(path=str(tiny_vl_path), lora=lora).load_model(reference=True)
    switch(policy, True)
    rows = rows_of(policy, [make_prompt("one", (84, 84))])
    before = policy.score(*rows, temperature=1.0).logprobs
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.02)
    with policy.as_reference():
        assert tokens_run(policy.reference or policy, rows) == len(rows[0][0].input_ids) + sum(
            max(n - 1, 0) for n in LENGTHS
        )
        reference = policy.score(*rows, temperature=1.0).logprobs
    assert torch.equal(reference, before)
    assert (policy.score(*rows, temperature=1.0).logprobs - before).abs().max() > 1e-3


def test_mixed_precision(vl_policy, make_prompt):
    """Measured in bfloat16, plain and shared: 0.006 and 0.007 nats per token and 1.9 and 2.0 % of the gradient off."""
    rows = rows_of(vl_policy, [make_prompt("one", (84, 84)), make_prompt("no")])
    logprobs, _, gradient = run(vl_policy, rows, shares=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for shares in (False, True):
            mixed = run(vl_policy, rows, shares=shares)
            assert mixed[0].dtype == torch.float32
            assert (mixed[0] - logprobs).abs().mean() < 0.015
            assert (mixed[2] - gradient).norm() < 0.04 * gradient.norm()


def test_rows_without_a_common_prompt_need_no_padding_either(language_policy, make_prompt):
    rows = rows_of(language_policy, [make_prompt("a"), make_prompt("longer"), make_prompt("the longest")], (4,))
    check(language_policy, rows)


def test_a_model_that_can_not_says_why(tiny_text_settings, language_policy, make_prompt):
    window = transformers.MistralForCausalLM(transformers.MistralConfig(**tiny_text_settings, sliding_window=8))
    assert "only part of the context (sliding_window)" in shared_prefix.why_not(window.base_model)
    mixed = tiny_text_settings | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    mixed = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**mixed))
    assert "only part of the context (sliding_attention)" in shared_prefix.why_not(mixed.base_model)
    other = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=120, n_embd=16, n_layer=1, n_head=2))
    assert "GPT2Model is none of the architectures" in shared_prefix.why_not(other.base_model)
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    scaled = transformers.LlamaForCausalLM(transformers.LlamaConfig(**tiny_text_settings, rope_parameters=scaled))
    assert "rotary positions (dynamic)" in shared_prefix.why_not(scaled.base_model)
    eager = transformers.LlamaConfig(**tiny_text_settings)
    eager = transformers.LlamaForCausalLM._from_config(eager, attn_implementation="eager")
    assert "'eager'" in shared_prefix.why_not(eager.base_model)
    with pytest.raises(ValueError, match="cannot share their prompt in this model: its attention implementation"):
        shared_prefix.enable(eager.base_model)
    policy = PolicyModel(window, language_policy.renderer)
    assert "sliding_window" in policy.share_prefix()
    assert not policy.shares_prefix
    rows = rows_of(policy, [make_prompt("what?")])
    assert tokens_run(policy, rows) > len(rows[0]) * len(rows[0][0].input_ids)  # the plain path


def test_ordinary_rows_go_through_as_before(tiny_vl_path, make_prompt):
    policy = Policy(path=str(tiny_vl_path)).load_model(reference=False)
    prompts = [policy.renderer.encode(prompt) for prompt in (make_prompt("one", (84, 84)), make_prompt("no image"))]
    nothing = [torch.empty(0, dtype=torch.int64)] * 2
    positions = policy.positions(prompts)
    batch = collate(prompts, nothing, positions, pad_id=0, side="left", device=policy.device)
    logits = []
    for _ in range(2):
        first, cache = policy.next_logits(batch)
        longer = torch.nn.functional.pad(batch["attention_mask"], (0, 1), value=1)
        step = {"input_ids": torch.tensor([[5], [6]]), "attention_mask": longer}
        second, _ = policy.next_logits(step | {"position_ids": torch.full((3, 2, 1), 40)}, cache)
        logits.append(torch.stack([first, second]))
        switch(policy, True)
    assert torch.equal(*logits)


def test_saved_model_knows_nothing_of_packs(language_policy, tmp_path):
    switch(language_policy, True)
    language_policy.model.save_pretrained(tmp_path)
    assert shared_prefix_attention.NAME not in (tmp_path / "config.json").read_text()
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert network.config._attn_implementation == "sdpa"
