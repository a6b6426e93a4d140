from types import SimpleNamespace

import pytest

from mapo.policies.policy import Policy
from mapo.policies.tokens import banned_ids, end_ids


@pytest.fixture
def renderer(tiny_vl_path):
    return Policy(path=str(tiny_vl_path)).load_renderer()


def test_vision_and_role_tokens_are_banned_and_ends_are_not(renderer):
    token = renderer.tokenizer.convert_tokens_to_ids
    vision = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
    assert {token(name) for name in [*vision, "<|im_start|>"]} <= set(renderer.banned_ids)
    assert set(renderer.eos_ids) == {token("<|im_end|>"), token("<|endoftext|>")}
    assert not set(renderer.eos_ids) & set(renderer.banned_ids)
    assert not {token(letter) for letter in "abc 123"} & set(renderer.banned_ids)


def added(content, *, special):
    return SimpleNamespace(content=content, special=special)


def test_ordinary_added_tokens_are_banned_only_when_they_mark_roles_tools_or_media():
    contents = {10: "<tool_call>", 11: "<think>", 12: "</think>", 13: "<|fim_pad|>", 14: "<|object_ref_start|>"}
    tokenizer = SimpleNamespace(
        added_tokens_decoder={i: added(text, special=i == 14) for i, text in contents.items()}, all_special_ids=[0, 1]
    )
    text = SimpleNamespace(vocab_size=20)
    config = SimpleNamespace(image_token_id=15, vision_start_token_id=99, get_text_config=lambda: text)
    # 99 lies outside the model's vocabulary: there is no logit to ban.
    assert banned_ids(tokenizer, config, end=(1,)) == (0, 10, 13, 14, 15)


@pytest.mark.parametrize(
    ("listed", "own", "expected"), [([5, 3], 3, (3, 5)), (4, None, (4,)), (None, 7, (7,)), (None, None, ())]
)
def test_ends_come_from_the_generation_configuration_and_the_tokenizer(listed, own, expected):
    assert end_ids(SimpleNamespace(eos_token_id=own), SimpleNamespace(eos_token_id=listed)) == expected
