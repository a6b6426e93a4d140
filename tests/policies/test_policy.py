import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from mapo.policies.policy import Lora, Policy


def test_lora_dropout_is_refused_with_its_reason():
    with pytest.raises(ValueError, match=r"lora\.dropout must be 0, got 0\.1.*ratios"):
        Lora(dropout=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_prompt_tokens": 0}, "max_prompt_tokens must be >= 1"),
        ({"min_pixels": 10, "max_pixels": 5}, "min_pixels must be <= max_pixels"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Policy(**settings)


def test_unknown_path_is_refused_before_weights(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the environment is read once, on import
    with pytest.raises(ValueError, match="nowhere/model"):
        Policy(path="nowhere/model").load_renderer()


def test_model_without_chat_template_asks_for_one(tiny_lm_path, tmp_path):
    folder = shutil.copytree(tiny_lm_path, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        Policy(path=str(folder)).load_renderer()
    template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert Policy(path=str(folder), chat_template=template).load_renderer().prefill == ""


def test_trained_weights_are_float32_and_frozen_ones_as_asked(tiny_vl_path):
    policy = Policy(path=str(tiny_vl_path), freeze_vision=True, frozen_dtype="bfloat16").load_model(reference=True)
    for name, parameter in policy.model.named_parameters():
        vision = ".visual." in name
        assert parameter.requires_grad is not vision
        assert parameter.dtype == (torch.bfloat16 if vision else torch.float32)
    assert {p.dtype for p in policy.reference.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in policy.reference.parameters())


def test_bfloat16_checkpoint_trains_in_float32(tiny_lm_path, tmp_path):
    AutoModelForCausalLM.from_pretrained(tiny_lm_path).to(torch.bfloat16).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((tiny_lm_path / name).read_bytes())
    policy = Policy(path=str(tmp_path)).load_model(reference=False)
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


def test_language_model_has_no_vision_to_freeze(tiny_lm_path):
    with pytest.raises(ValueError, match="no vision tower"):
        Policy(path=str(tiny_lm_path), freeze_vision=True).load_model(reference=False)


def test_lora_adapts_the_language_model_alone(tiny_vl_path):
    policy = Policy(path=str(tiny_vl_path), lora=Lora(rank=2), frozen_dtype="bfloat16").load_model(reference=True)
    trained = [(name, p) for name, p in policy.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 2  # A and B of seven projections in two layers
    assert all("language_model" in name and "lora_" in name and p.dtype == torch.float32 for name, p in trained)
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert policy.reference is None
    assert {id(p) for p in policy.trainable_parameters()} == {id(p) for _, p in trained}


def test_lora_on_a_language_model_spares_the_head(tiny_lm_path):
    policy = Policy(path=str(tiny_lm_path), lora=Lora(rank=2)).load_model(reference=False)
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    assert len(names) == 2 * 7 * 2
    assert not any("lm_head" in name for name in names)


def test_pixel_bound_without_effect_is_refused():
    fixed = SimpleNamespace(size={"height": 224, "width": 224})
    with pytest.raises(ValueError, match="max_pixels=1000 has no effect"):
        Policy(max_pixels=1000)._check_pixels(fixed)


def test_a_model_that_can_not_share_prompts_says_so_in_one_line(tiny_text_settings, save_tiny, capsys, caplog):
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    path = save_tiny(Qwen2ForCausalLM(Qwen2Config(**tiny_text_settings | window)))
    with caplog.at_level("INFO"):
        assert not Policy(path=str(path)).load_model(reference=False).shares_prefix
        assert not Policy(path=str(path), share_prefix=False).load_model(reference=False).shares_prefix
    said = [line for line in (caplog.text + capsys.readouterr().err).splitlines() if "own copy of the prompt" in line]
    assert len(said) == 1
    assert "only part of the context (sliding_attention)" in said[0]
