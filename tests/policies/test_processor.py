import json
import shutil

import pytest
from transformers import Qwen2_5_VLProcessor

from mapo.policies.processor import image_only, load_processor, load_tokenizer


def test_folder_with_a_generic_tokenizer_keeps_its_ids(tiny_lm_path):
    tokenizer = load_tokenizer(str(tiny_lm_path))
    text = "keep  my\nspaces"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_image_only_processor_reads_a_folder_in_hub_layout(tiny_vl_path, tmp_path, make_prompt):
    folder = shutil.copytree(tiny_vl_path, tmp_path / "hub")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["processor_class"] = "Qwen2_5_VLProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = image_only(Qwen2_5_VLProcessor).from_pretrained(folder)
    output = processor(images=list(make_prompt("?", (56, 56)).images), text=["<|image_pad|>"], return_tensors="pt")
    assert output["input_ids"][0].tolist() == [processor.image_token_id] * 4


def test_pixel_bounds_reach_the_image_processor(tiny_vl_path):
    tokenizer = load_tokenizer(str(tiny_vl_path))
    processor = load_processor(str(tiny_vl_path), "qwen2_5_vl", tokenizer, min_pixels=784, max_pixels=3136)
    size = processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (784, 3136)
    assert processor.tokenizer is tokenizer


def test_video_model_of_another_family_asks_for_torchvision(monkeypatch):
    monkeypatch.setattr("mapo.policies.processor.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="smolvlm needs torchvision"):
        load_processor("anywhere", "smolvlm", None)
