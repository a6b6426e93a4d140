"""Prompts and completions of different lengths as one padded batch of model inputs."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from mapo.types import EncodedPrompt


def collate(
    prompts: Sequence[EncodedPrompt],
    completions: Sequence[Int[Tensor, " T"]],
    positions: Sequence[Int[Tensor, "A P"]],
    *,
    pad_id: int,
    side: Literal["left", "right"],
    device: torch.device,
) -> dict[str, Tensor]:
    """Return the keyword arguments of one forward over N rows, each a prompt followed by its completion.

    Args:
        prompts: N prompts; a row repeats its images.
        completions: N completions, empty ones allowed.
        positions: Rotary positions of each prompt, on A axes; the completion continues them on all axes alike.
        pad_id: Fills short rows.
        side: Where.
        device: Where the batch is put.

    Returns:
        ``input_ids``, ``attention_mask`` of shape [N, L], ``position_ids`` [N, L] or [A, N, L], and the features:
        sequence-aligned ones continued by zeros and padded, the others one after the other.
    """
    rows = [torch.cat([p.input_ids, c]) for p, c in zip(prompts, completions, strict=True)]
    placed = [_continue(p, len(c)).T for p, c in zip(positions, completions, strict=True)]
    position_ids = _pad(placed, 0, side).permute(2, 0, 1)  # [A, N, L]
    batch = {
        "input_ids": _pad(rows, pad_id, side),
        "attention_mask": _pad([torch.ones_like(row) for row in rows], 0, side),
        "position_ids": position_ids[0] if len(position_ids) == 1 else position_ids,
    }
    batch |= _features(prompts, rows, side)
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def prompt_positions(network: Any, prompts: Sequence[EncodedPrompt]) -> list[Int[Tensor, "A P"]]:
    """Return each prompt's rotary positions: 0, 1, 2, ... or the model's own (time, height, width) around images.

    Args:
        network: The Hugging Face model without its head; a ``get_rope_index`` says that positions have several axes.
        prompts: Repeated prompts (the same object) are looked at once.
    """
    known = {id(prompt): prompt for prompt in prompts}
    found = {key: _positions(network, prompt) for key, prompt in known.items()}
    return [found[id(prompt)] for prompt in prompts]


def next_position(positions: Int[Tensor, "A P"]) -> int:
    """Return the position of the token after a prompt, the same on all axes."""
    return int(positions.max()) + 1


def _positions(network: Any, prompt: EncodedPrompt) -> Int[Tensor, "A P"]:
    count = torch.arange(len(prompt.input_ids))[None]
    if not hasattr(network, "get_rope_index"):
        return count
    if "image_grid_thw" not in prompt.features:
        return count.expand(3, -1)
    grids = {name: prompt.features[name] for name in ("mm_token_type_ids", "image_grid_thw")}
    return network.get_rope_index(prompt.input_ids[None], **grids)[0][:, 0]


def _continue(positions: Int[Tensor, "A P"], length: int) -> Int[Tensor, "A L"]:
    tail = next_position(positions) + torch.arange(length)
    return torch.cat([positions, tail.expand(len(positions), -1)], dim=1)


def _pad(rows: Sequence[Tensor], value: int, side: Literal["left", "right"]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)


def _features(
    prompts: Sequence[EncodedPrompt], rows: Sequence[Tensor], side: Literal["left", "right"]
) -> dict[str, Tensor]:
    names = sorted({name for prompt in prompts for name in prompt.features})
    return {name: _feature(name, prompts, rows, side) for name in names}


def _feature(
    name: str, prompts: Sequence[EncodedPrompt], rows: Sequence[Tensor], side: Literal["left", "right"]
) -> Tensor:
    present = [(p.features[name], p) for p in prompts if name in p.features]
    if not all(tensor.shape == (1, len(prompt.input_ids)) for tensor, prompt in present):
        return torch.cat([tensor for tensor, _ in present])
    aligned = [row.new_zeros(len(row), dtype=present[0][0].dtype) for row in rows]
    for target, prompt in zip(aligned, prompts, strict=True):
        if name in prompt.features:
            target[: len(prompt.input_ids)] = prompt.features[name][0]
    return _pad(aligned, 0, side)
