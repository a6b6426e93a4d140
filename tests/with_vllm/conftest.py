"""The language part of the built-in model as a model of its own, which vLLM's CPU build can run."""

import os

import pytest
import torch

# vLLM compiles a kernel of its sampler on the first log-prob, which takes longer than these tests.
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")


@pytest.fixture(scope="session")
def language_path(tmp_path_factory):
    """The built-in model's language part, its head tied to its embeddings as there."""
    return export_language(tmp_path_factory.mktemp("language"), tied=True)


@pytest.fixture(scope="session")
def untied_path(tmp_path_factory):
    """The same with a head of its own: a server of the CPU build leaves a tied one as it was (docs/vllm.md)."""
    return export_language(tmp_path_factory.mktemp("untied"), tied=False)


def export_language(folder, *, tied):
    """Save a Qwen2 with the built-in model's language weights: without pictures its rotary positions are the same."""
    from transformers import (
        AutoTokenizer,
        GenerationConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    from mapo.policies.builtin import builtin_path

    path = str(builtin_path())
    whole = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
    text = whole.config.text_config
    names = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads"
    names += " max_position_embeddings rms_norm_eps bos_token_id eos_token_id pad_token_id"
    settings = {name: getattr(text, name) for name in names.split()}
    rope = {"rope_type": "default", "rope_theta": text.rope_parameters["rope_theta"]}
    config = Qwen2Config(**settings, tie_word_embeddings=tied, rope_parameters=rope)
    language = Qwen2ForCausalLM(config)
    language.model.load_state_dict(whole.model.language_model.state_dict())
    if tied:
        language.tie_weights()
    else:
        language.lm_head.load_state_dict(language.model.embed_tokens.state_dict())
    language.generation_config = GenerationConfig.from_pretrained(path)
    language.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def questions():
    """Four questions about triangles and perimeters."""
    from mapo.data.plane_figures import PlaneFigures

    data = PlaneFigures(num_train=4, num_eval=1, batch_size=2)
    data.setup("fit")
    return [data.train_set[index] for index in range(4)]
