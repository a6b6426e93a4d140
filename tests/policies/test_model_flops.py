"""The closed form against products that are counted while they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mapo.policies.model import PolicyModel
from mapo.policies.model_flops import ModelFlops
from mapo.policies.policy import Lora, Policy
from mapo.types import EncodedPrompt

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

LENGTH = 7
# Equal to the last product here; other releases of transformers compute rotary angles by a small product of their own.
TOLERANCE = 1e-3
EVERY_LINEAR = r".*\.(qkv|proj|fc1|linear_fc1|q_proj|v_proj|o_proj|down_proj)"
RECIPES = {
    "text": {},
    "text_lora": {"lora": Lora(rank=4)},
    "images": {},
    "images_frozen_vision": {"freeze_vision": True},
    "images_lora": {"lora": Lora(rank=4)},
    "images_lora_everywhere": {"lora": Lora(rank=4, target_modules=EVERY_LINEAR)},
}


def count(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def run(policy: PolicyModel, prompt: EncodedPrompt) -> torch.Tensor:
    """Run one row as a plain forward does; the head at the positions that predict the completion."""
    # Attention written out: the fused one is not seen whole, and computes its scores again in the backward pass.
    network = policy._causal_lm()
    network.set_attn_implementation("eager")
    ids = torch.cat([prompt.input_ids, torch.full((LENGTH - 1,), 5)])[None]
    features = dict(prompt.features)
    if "mm_token_type_ids" in features:
        features["mm_token_type_ids"] = torch.nn.functional.pad(features["mm_token_type_ids"], (0, LENGTH - 1))
    hidden = network.base_model(input_ids=ids, use_cache=False, **features).last_hidden_state
    return network.get_output_embeddings()(hidden[:, len(prompt.input_ids) - 1 :])


def unseen(flops: ModelFlops, prompt: EncodedPrompt) -> int:
    """The pairs above the diagonal, which a written-out attention computes and the closed form does not count."""
    length = len(prompt.input_ids) + LENGTH - 1
    return 2 * sum(flops.attention.values()) * (length**2 - length * (length + 1) // 2)


def assert_agrees(policy: PolicyModel, prompt: EncodedPrompt) -> None:
    flops, outputs = ModelFlops.of(policy), []
    forward = count(lambda: outputs.append(run(policy, prompt)))
    assert forward == pytest.approx(flops.forward(prompt, [LENGTH]) + unseen(flops, prompt), rel=TOLERANCE)
    backward = count(lambda: outputs[0].sum().backward())
    assert backward == pytest.approx(flops.backward(prompt, [LENGTH]) + 2 * unseen(flops, prompt), rel=TOLERANCE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_agrees_with_counted_passes(recipe: str, tiny_lm_path: Path, tiny_vl_path: Path, make_prompt) -> None:
    path, sizes = (tiny_lm_path, ()) if recipe.startswith("text") else (tiny_vl_path, ((84, 140), (56, 28)))
    policy = Policy(path=str(path), **RECIPES[recipe]).load_model(reference=False)
    assert_agrees(policy, policy.renderer.encode(make_prompt("How large is the area?", *sizes)))


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl"])
def test_agrees_for_the_other_vision_towers(family: str, save_tiny, tiny_text_settings, tiny_tokenizer, make_prompt):
    policy = load_tiny_vl(family, save_tiny, tiny_text_settings, tiny_tokenizer)
    prompt = policy.renderer.encode(make_prompt("How large is the area?", (96, 160), (64, 32)))
    assert_agrees(policy, prompt)


def load_tiny_vl(family: str, save_tiny, text_settings: dict, tokenizer) -> PolicyModel:
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    kinds = {
        "qwen2_vl": (
            Qwen2VLConfig,
            Qwen2VLForConditionalGeneration,
            {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        ),
        "qwen3_vl": (
            Qwen3VLConfig,
            Qwen3VLForConditionalGeneration,
            {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "deepstack_visual_indexes": [0]},
        ),
    }
    config, model, vision = kinds[family]
    rotation = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    patch_size = 16 if family == "qwen3_vl" else 14
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    network = model(
        config(
            text_config=text_settings | {"rope_parameters": rotation, "head_dim": 16},
            vision_config={"depth": 2, "num_heads": 2, "patch_size": patch_size, **vision},
            **{f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()},
        )
    )
    pixels = {"min_pixels": patch_size**2 * 4, "max_pixels": patch_size**2 * 256}
    folder = save_tiny(network, Qwen2VLImageProcessorPil(**pixels, patch_size=patch_size))
    return Policy(path=str(folder)).load_model(reference=False)


@torch.no_grad()
def test_decoding_with_a_cache_is_counted_pair_by_pair(tiny_lm_path: Path, make_prompt) -> None:
    policy = Policy(path=str(tiny_lm_path)).load_model(reference=False)
    policy._causal_lm().set_attn_implementation("eager")
    prompt, flops = policy.renderer.encode(make_prompt("Once")), ModelFlops.of(policy)
    _, cache = policy.next_logits({"input_ids": prompt.input_ids[None]})
    steps = count(lambda: [policy.next_logits({"input_ids": torch.tensor([[5]])}, cache) for _ in range(LENGTH - 1)])
    more = flops.forward(prompt, [LENGTH]) - flops.forward(prompt, [1])
    assert steps == pytest.approx(more, rel=TOLERANCE)


def test_a_prompt_counts_once_for_its_group(tiny_vl_path: Path, make_prompt) -> None:
    policy = Policy(path=str(tiny_vl_path)).load_model(reference=False)
    prompt, flops = policy.renderer.encode(make_prompt("Area?", (84, 56))), ModelFlops.of(policy)
    alone = flops.forward(prompt, [1])
    first, second = (flops.forward(prompt, [length]) - alone for length in (5, 9))
    assert flops.forward(prompt, [5, 9]) == alone + first + second
    assert flops.forward(prompt, [5, 9, 0, 1]) == flops.forward(prompt, [5, 9])  # neither feeds a token
    assert flops.forward(prompt, [0]) == alone - flops.head.forward(1)


def test_adapters_are_left_out_of_the_merged_model(tiny_lm_path: Path, make_prompt) -> None:
    plain, adapted = (
        Policy(path=str(tiny_lm_path), lora=lora).load_model(reference=False) for lora in (None, Lora(rank=4))
    )
    prompt = plain.renderer.encode(make_prompt("Once"))
    expected = ModelFlops.of(plain).forward(prompt, [LENGTH])
    assert ModelFlops.of(adapted, adapters=False).forward(prompt, [LENGTH]) == expected
    assert ModelFlops.of(adapted).forward(prompt, [LENGTH]) > expected


def test_sliding_layers_see_a_window(save_tiny, tiny_text_settings, make_prompt) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    policy = Policy(
        path=str(save_tiny(MistralForCausalLM(MistralConfig(**tiny_text_settings, sliding_window=4))))
    ).load_model(reference=False)
    assert ModelFlops.of(policy).attention == {4: 2 * 4 * (16 + 16)}  # layers x heads x (key + value)


def test_experts_are_not_counted(save_tiny, tiny_text_settings) -> None:
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    settings = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    path = save_tiny(Qwen2MoeForCausalLM(Qwen2MoeConfig(**tiny_text_settings, **settings)))
    policy = Policy(path=str(path)).load_model(reference=False)
    with pytest.raises(ValueError, match="FLOPs of Qwen2MoeForCausalLM are not counted: it has num_experts"):
        ModelFlops.of(policy)
