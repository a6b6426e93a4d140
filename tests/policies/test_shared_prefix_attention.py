from types import SimpleNamespace

import pytest
import torch

from mapo.policies.packing import Block, Run
from mapo.policies.shared_prefix_attention import masked_attention, merged_attention, shared_prefix_attention

# A prompt of 5 with completions of 4, 4 and 2; one of 3 without any; one of 1 with three of 1.
BLOCKS = (Block(0, 5, (Run(5, 2, 4), Run(13, 1, 2))), Block(15, 3, ()), Block(18, 1, (Run(19, 3, 1),)))
LENGTH = 22


def who_sees_whom():
    seen = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    for block in BLOCKS:
        seen[block.prompt, block.prompt] = True
        seen[block.completions, block.prompt] = True
        for run in block.runs:
            for start in range(run.start, run.tokens.stop, run.length):
                seen[start : start + run.length, start : start + run.length] = True
    return seen.tril()


def inputs(dtype, heads=4, key_heads=2):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(1, LENGTH, h, 8, generator=generator, dtype=dtype) for h in (heads, key_heads, key_heads)]
    return [tensor.transpose(1, 2).requires_grad_() for tensor in tensors]


def plain(query, key, value):
    key, value = (tensor.repeat_interleave(query.shape[1] // tensor.shape[1], dim=1) for tensor in (key, value))
    scores = (query @ key.transpose(-1, -2) * 0.3).masked_fill(~who_sees_whom(), -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def merged(query, key, value):
    return merged_attention(query, key, value, BLOCKS, 0.3)


def masked(query, key, value):
    module = SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], is_causal=True)
    return masked_attention(module, query, key, value, BLOCKS, 0.3)


@pytest.mark.parametrize("attention", [merged, masked])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_a_dense_mask(attention, key_heads, dtype, tolerance):
    tensors = inputs(dtype, key_heads=key_heads)
    expected, output = plain(*tensors), attention(*tensors)
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=0)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    gradients = [torch.autograd.grad((weights * o).sum(), tensors) for o in (output, expected)]
    for gradient, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=10 * tolerance, rtol=0)


def test_one_part_may_outweigh_the_other():
    query, key, value = inputs(torch.float64)
    with torch.no_grad():
        key[:, :, BLOCKS[0].prompt] *= 1000  # scores of hundreds: one of the two parts underflows
    torch.testing.assert_close(merged(query, key, value), plain(query, key, value), atol=1e-12, rtol=0)


def test_autocast_reaches_it():
    tensors = inputs(torch.float32)
    tensors[2] = tensors[2].to(torch.bfloat16)  # rotation leaves queries and keys in float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = merged(*tensors)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), plain(*inputs(torch.float32)), atol=0.03, rtol=0)


def test_without_a_pack_it_is_sdpa():
    query, key, value = inputs(torch.float32, key_heads=4)
    module = SimpleNamespace(is_causal=True)
    output, weights = shared_prefix_attention(module, query, key, value, None, scaling=0.3, position_ids=None)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    assert weights is None
    assert torch.equal(output, expected.transpose(1, 2))
