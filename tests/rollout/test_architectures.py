"""Decoding and scoring agree with transformers on other architectures than that of the built-in model."""

import pytest
import torch
import transformers

from mapo.policies.policy import Policy
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling

MEDIA = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}


def absolute_positions(settings):
    config = transformers.GPT2Config(
        vocab_size=settings["vocab_size"], n_embd=64, n_layer=2, n_head=4, n_positions=512, initializer_range=0.15
    )
    return transformers.GPT2LMHeadModel(config)


def sliding_window(settings):
    layers = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3TextConfig(**settings, head_dim=16, sliding_window=16, layer_types=layers)
    return transformers.Gemma3ForCausalLM(config)


def capped_logits(settings):
    config = transformers.Gemma2Config(**settings, head_dim=16, sliding_window=16, final_logit_softcapping=5.0)
    return transformers.Gemma2ForCausalLM(config)


def check(folder, prompts):
    policy = Policy(path=str(folder)).load_model(reference=False)
    encoded = [policy.renderer.encode(prompt) for prompt in prompts]
    assert [policy.renderer.prompt_length(prompt) for prompt in prompts] == [len(e.input_ids) for e in encoded]
    streams = list(range(len(prompts)))
    sampling = Sampling(temperature=0.0, max_completion_tokens=25)
    greedy = TransformersEngine().generate(policy, encoded, group_size=1, sampling=sampling, streams=streams)
    policy.model.eval()
    for prompt, (completion,) in zip(encoded, greedy.completions, strict=True):
        ids = prompt.input_ids[None]
        output = policy.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **prompt.features,
            max_new_tokens=25,
            do_sample=False,
            suppress_tokens=list(policy.renderer.banned_ids),
        )
        assert output[0, ids.shape[1] :].tolist() == completion.token_ids.tolist()
    sampling = Sampling(max_completion_tokens=25)
    sampled = TransformersEngine().generate(policy, encoded, group_size=3, sampling=sampling, streams=streams)
    rows = [(e, c.token_ids) for e, group in zip(encoded, sampled.completions, strict=True) for c in group]
    scores = policy.score(*map(list, zip(*rows, strict=True)), temperature=1.0).logprobs.detach()
    values = [logprobs for group in sampled.sampling_logprobs for logprobs in group]
    for score, logprobs in zip(scores, values, strict=True):
        torch.testing.assert_close(score[: len(logprobs)], logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("build", [absolute_positions, sliding_window, capped_logits])
def test_language_models(build, save_tiny, tiny_text_settings, make_prompt):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(tiny_text_settings)
    check(save_tiny(model), [make_prompt(text) for text in ("hi", "what is the area of it")])


def test_features_at_several_depths(save_tiny, tiny_text_settings, tiny_tokenizer, make_prompt):
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    config = transformers.Qwen3VLConfig(
        text_config=tiny_text_settings | {"rope_parameters": rope, "head_dim": 16},
        vision_config=vision | {"patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 64},
        **{f"{k}_token_id": tiny_tokenizer.convert_tokens_to_ids(f"<|{token}|>") for k, token in MEDIA.items()},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Qwen3VLForConditionalGeneration(config)
    images = transformers.Qwen2VLImageProcessorPil(patch_size=16, min_pixels=1024, max_pixels=16384)
    prompts = [make_prompt("one", (96, 96)), make_prompt("none"), make_prompt("two", (60, 200), (40, 40))]
    check(save_tiny(model, images), prompts)
