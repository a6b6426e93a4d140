import json

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from mapo.policies.loading import disable_dropout, load_config, load_generation_config, load_network, reads_images


def test_unknown_path_says_what_a_path_may_be(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"'\./no/such/model' cannot be loaded") as error:
        load_config("./no/such/model")
    for word in ("builtin", "config.json", "network"):
        assert word in str(error.value)


def test_folder_without_configuration_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"without config\.json"):
        load_config(str(tmp_path))


def test_unknown_architecture_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    with pytest.raises(ValueError, match="nonesuch"):
        load_config(str(tmp_path))


def test_kind_of_model_is_read_from_the_configuration(tiny_vl_path, tiny_lm_path):
    assert reads_images(load_config(str(tiny_vl_path)))
    assert not reads_images(load_config(str(tiny_lm_path)))


def test_generation_configuration_is_derived_where_there_is_none(tiny_lm_path, tmp_path):
    config = AutoConfig.from_pretrained(tiny_lm_path)
    config.save_pretrained(tmp_path)
    assert load_generation_config(str(tmp_path), config).eos_token_id == config.eos_token_id
    assert len(load_generation_config(str(tiny_lm_path), config).eos_token_id) == 2


def test_dropout_is_off_in_train_mode(tiny_lm_path):
    config = load_config(str(tiny_lm_path))
    config.attention_dropout = 0.5
    network = load_network(str(tiny_lm_path), config, dtype=torch.float32)
    assert network.training
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(network(ids).logits, network.eval()(ids).logits)


def test_dropout_modules_are_off():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    disable_dropout(module)
    assert module[1].p == 0.0
