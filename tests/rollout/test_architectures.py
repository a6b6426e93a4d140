"""Decoding and scoring agree with transformers on other architectures than that of the built-in model."""

import pytest
import torch
import transformers

from mapo.policies.policy import Policy
from mapo.rollout.probe import probe
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Sampling

MEDIA = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
TEXTS = ("hi", "what is the area of it", "one", "two or three", "x", "a longer question, with a comma")
PICTURES = ((96, 96), (), (60, 200, 40, 40), (30, 150), (), (64, 64))


def build(kind, settings, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**settings | kwargs)
        return transformers.AutoModelForCausalLM.from_config(config)


def absolute_positions(settings):
    kwargs = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.15}
    return build("GPT2", {"vocab_size": settings["vocab_size"]}, **kwargs)


def sliding_window(settings):
    layers = ["sliding_attention", "full_attention"]
    return build("Gemma3Text", settings, head_dim=16, sliding_window=16, layer_types=layers)


def capped_logits(settings):
    return build("Gemma2", settings, head_dim=16, sliding_window=16, final_logit_softcapping=5.0)


def llama(settings):
    return build("Llama", settings, attention_bias=True, tie_word_embeddings=True)


def mistral(settings):
    return build("Mistral", settings, sliding_window=None, head_dim=32)


def qwen2(settings):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    return build("Qwen2", settings, rope_parameters=rope)


def qwen3(settings):
    return build("Qwen3", settings, head_dim=24, num_key_value_heads=4)


def vision_language(kind, settings, tokenizer, **vision):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(
            text_config=settings | {"rope_parameters": ROPE, "head_dim": 16},
            vision_config=vision | {"depth": 2, "num_heads": 2, "initializer_range": 0.3},
            **{f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for k, token in MEDIA.items()},
        )
        return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def qwen2_vl(settings, tokenizer):
    return vision_language("Qwen2VL", settings, tokenizer, embed_dim=32, hidden_size=64, mlp_ratio=2)


def qwen2_5_vl(settings, tokenizer):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    return vision_language("Qwen2_5_VL", settings, tokenizer, **sizes, window_size=56, fullatt_block_indexes=[1])


def qwen3_vl(settings, tokenizer):  # features at several depths
    sizes = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64, "patch_size": 16}
    return vision_language(
        "Qwen3VL", settings, tokenizer, **sizes, deepstack_visual_indexes=[0], num_position_embeddings=64
    )


def hf_greedy(policy, prompt, limit):
    policy.model.eval()
    ids = prompt.input_ids[None]
    output = policy.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **prompt.features,
        max_new_tokens=limit,
        do_sample=False,
        suppress_tokens=list(policy.renderer.banned_ids),
    )
    return output[0, ids.shape[1] :].tolist()


def check(folder, prompts, *, lean):
    policy = Policy(path=str(folder)).load_model(reference=False)
    encoded = [policy.renderer.encode(prompt) for prompt in prompts]
    assert [policy.renderer.prompt_length(prompt) for prompt in prompts] == [len(e.input_ids) for e in encoded]
    streams = list(range(len(prompts)))
    greedy = {"sampling": Sampling(temperature=0.0, max_completion_tokens=25), "streams": streams, "group_size": 1}
    theirs = [hf_greedy(policy, prompt, 25) for prompt in encoded]
    for rows in (None, 2):
        ours = TransformersEngine(max_batch_rows=rows).generate(policy, encoded, **greedy)
        assert [completion.token_ids.tolist() for (completion,) in ours.completions] == theirs
    reason = probe(policy, encoded[0], reason=None).reason
    assert (reason is None) is lean, reason
    settings = {"sampling": Sampling(max_completion_tokens=25), "streams": streams, "group_size": 3}
    sampled = TransformersEngine(max_batch_rows=7).generate(policy, encoded, **settings)
    rows = [(e, c.token_ids) for e, group in zip(encoded, sampled.completions, strict=True) for c in group]
    scores = policy.score(*map(list, zip(*rows, strict=True)), temperature=1.0).logprobs.detach()
    values = [logprobs for group in sampled.sampling_logprobs for logprobs in group]
    for score, logprobs in zip(scores, values, strict=True):
        torch.testing.assert_close(score[: len(logprobs)], logprobs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("make", [llama, mistral, qwen2, qwen3])
def test_language_models(make, save_tiny, tiny_text_settings, make_prompt):
    check(save_tiny(make(tiny_text_settings)), [make_prompt(text) for text in TEXTS], lean=True)


@pytest.mark.parametrize("make", [absolute_positions, sliding_window, capped_logits])
def test_language_models_of_other_kinds(make, save_tiny, tiny_text_settings, make_prompt):
    check(save_tiny(make(tiny_text_settings)), [make_prompt(text) for text in TEXTS[:3]], lean=False)


@pytest.mark.parametrize(("make", "patch"), [(qwen2_vl, 14), (qwen2_5_vl, 14), (qwen3_vl, 16)])
def test_vision_language_models(make, patch, save_tiny, tiny_text_settings, tiny_tokenizer, make_prompt):
    images = transformers.Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=1024, max_pixels=16384)
    folder = save_tiny(make(tiny_text_settings, tiny_tokenizer), images)
    pictures = [list(zip(sizes[::2], sizes[1::2], strict=True)) for sizes in PICTURES]
    check(folder, [make_prompt(text, *sizes) for text, sizes in zip(TEXTS, pictures, strict=True)], lean=True)
