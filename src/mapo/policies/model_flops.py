"""Model FLOPs of a policy: what its architecture needs for given tokens and images, however that is computed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

from torch import nn

from mapo.functional.flops import MatrixProducts, causal_pairs, window_pairs
from mapo.policies.model import PolicyModel
from mapo.policies.packing import packed_length
from mapo.types import EncodedPrompt

_LAYERS = ("full_attention", "sliding_attention")
# What a part begins with: projected patches, a first layer's queries, keys and values, a merger's first product.
_FIRST = re.compile(
    r"^(proj|0\.attn\.qkv|(layers\.)?0\.self_attn\.(q|k|v|qkv)_proj|mlp\.0|linear_fc1)(\.base_layer|\.lora_A\.\w+)?$"
)
# Settings of architectures in which a token passes only some of the weights, or keys and values differ in size.
_NOT_COUNTED = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")


@dataclass(frozen=True)
class VisionTower:
    """What turns patches into image tokens, as the Qwen-VL family does.

    Attributes:
        embedding: Of a patch.
        blocks: What every patch goes through.
        merger: What every image token goes through.
        merge: Patches along a side of one image token.
        attention: Heads x (size of a key + size of a value), summed over the blocks, by the side of their windows.
    """

    embedding: MatrixProducts
    blocks: MatrixProducts
    merger: MatrixProducts
    merge: int
    attention: Mapping[int | None, int]

    @classmethod
    def of(cls, tower: Any, *, adapters: bool) -> Self:
        """Count the weights of a Hugging Face vision tower."""
        first, blocks = [tower.patch_embed], [tower.blocks]
        rest = [part for part in tower.children() if part not in (tower.patch_embed, tower.blocks)]
        return cls(
            embedding=_products(first, before=False, adapters=adapters),
            blocks=_products(blocks, before=_trains(first), adapters=adapters),
            merger=_products(rest, before=_trains(first + blocks), adapters=adapters),
            merge=tower.spatial_merge_size,
            attention=_window_attention(tower),
        )

    def flops(self, grids: Sequence[Sequence[int]], *, backward: bool) -> int:
        """Return the FLOPs of images, each given as (frames, rows of patches, columns of patches)."""
        patches = sum(map(prod, grids))
        attention = sum(
            width * frames * window_pairs(rows, columns, window)
            for window, width in self.attention.items()
            for frames, rows, columns in grids
        )
        return (
            _flops(self.embedding, patches, 0, backward=backward)
            + _flops(self.blocks, patches, attention, backward=backward)
            + _flops(self.merger, patches // self.merge**2, 0, backward=backward)
        )


@dataclass(frozen=True)
class ModelFlops:
    """Counts the FLOPs of groups: a prompt with its images once, and the completions that continue it.

    What an implementation may compute beyond that is not counted: prompts repeated for every completion, padding,
    finished rows that decode on, activations recomputed in the backward pass.

    Attributes:
        language: What every token goes through.
        head: From hidden states to logits.
        attention: Heads x (size of a key + size of a value), summed over the layers, by the window of what they see.
        vision: None for a language model.
    """

    language: MatrixProducts
    head: MatrixProducts
    attention: Mapping[int | None, int]
    vision: VisionTower | None = None

    @classmethod
    def of(cls, policy: PolicyModel, *, adapters: bool = True) -> Self:
        """Count the weights of a loaded policy, and which of them are trained.

        Input gradients are counted from the first part (embedding, vision blocks, merger, layers) on in which something
        is trained, but for the products that this part begins with.

        Args:
            policy: A dense model with full or sliding attention; with images, of the Qwen-VL family.
            adapters: Count LoRA's weights as well; without them it is the merged model, or the reference.

        Raises:
            ValueError: It has parts whose FLOPs are not known here.
        """
        network = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        tower = getattr(network.base_model, "visual", None)
        _check(network, tower)
        rest = [part for part in network.base_model.children() if part is not tower]
        before = tower is not None and _trains([tower])
        head = [network.get_output_embeddings()]
        return cls(
            language=_products(rest, before=before, adapters=adapters),
            head=_products(head, before=_trains([network.base_model]), adapters=adapters),
            attention=_causal_attention(network.config.get_text_config()),
            vision=None if tower is None else VisionTower.of(tower, adapters=adapters),
        )

    def forward(self, prompt: EncodedPrompt, lengths: Sequence[int]) -> int:
        """Return the FLOPs of sampling or scoring a group.

        Args:
            prompt: Its tokens and the grids of its images.
            lengths: Tokens of each completion.
        """
        return self._group(prompt, lengths, backward=False)

    def backward(self, prompt: EncodedPrompt, lengths: Sequence[int]) -> int:
        """Return the FLOPs of the gradients of a group's log-probs; arguments as in ``forward``."""
        return self._group(prompt, lengths, backward=True)

    def _group(self, prompt: EncodedPrompt, lengths: Sequence[int], *, backward: bool) -> int:
        size = len(prompt.input_ids)
        # A completion's last token predicts nothing; the first one is predicted by the prompt's last, once for all.
        fed = [max(length - 1, 0) for length in lengths]
        attention = sum(
            width * (causal_pairs(0, size, window) + sum(causal_pairs(size, size + one, window) for one in fed))
            for window, width in self.attention.items()
        )
        flops = _flops(self.language, packed_length(size, lengths), attention, backward=backward)
        flops += _flops(self.head, sum(fed) + any(lengths), 0, backward=backward)
        if self.vision is not None and "image_grid_thw" in prompt.features:
            flops += self.vision.flops(prompt.features["image_grid_thw"].tolist(), backward=backward)
        return flops


def _flops(part: MatrixProducts, tokens: int, attention: int, *, backward: bool) -> int:
    return part.backward(tokens, attention) if backward else part.forward(tokens, attention)


def _products(parts: Sequence[nn.Module], *, before: bool, adapters: bool) -> MatrixProducts:
    """Count the weights of one part, ``before`` which something is trained or not."""
    matrices = [
        (name, module)
        for part in parts
        for name, module in part.named_modules()
        if _is_matrix(module) and (adapters or "lora_" not in name)
    ]
    # Norms and embeddings come before all products of their part.
    before = before or _trains(
        (module for part in parts for module in part.modules() if not _is_matrix(module)), own=True
    )
    passed = matrices if before else [(name, module) for name, module in matrices if not _FIRST.search(name)]
    passed = passed if before or _trains(parts) else []
    return MatrixProducts(
        weights=sum(_size(module) for _, module in matrices),
        trained=sum(_size(module) for _, module in matrices if module.weight.requires_grad),
        passed=sum(_size(module) for _, module in passed),
    )


def _is_matrix(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d)


def _size(module: Any) -> int:
    """Return the weights of a linear layer, or of a convolution whose kernel sees every pixel once."""
    # Not of the tensor, of which a sharded module may hold a part.
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return module.out_channels * module.in_channels // module.groups * prod(module.kernel_size)


def _trains(parts: Iterable[nn.Module], *, own: bool = False) -> bool:
    """Tell whether anything in the parts is trained, or, with ``own``, anything that is not in a part of a part."""
    return any(parameter.requires_grad for part in parts for parameter in part.parameters(recurse=not own))


def _causal_attention(config: Any) -> dict[int | None, int]:
    """Return heads x (size of a key + size of a value) of the language layers, by their window."""
    window = getattr(config, "sliding_window", None)
    usual = "full_attention" if window is None else "sliding_attention"
    heads = config.num_attention_heads
    width = 2 * heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    widths: dict[int | None, int] = {}
    for kind in getattr(config, "layer_types", None) or [usual] * config.num_hidden_layers:
        seen = window if kind == "sliding_attention" else None
        widths[seen] = widths.get(seen, 0) + width
    return widths


def _window_attention(tower: Any) -> dict[int | None, int]:
    """Return heads x (size of a key + size of a value) of the vision blocks, by the side of their windows."""
    config, widths = tower.config, dict[int | None, int]()
    full = getattr(config, "fullatt_block_indexes", range(len(tower.blocks)))  # Qwen2.5-VL; the others have no windows
    for index, block in enumerate(tower.blocks):
        seen = None
        if index not in full:
            seen = config.window_size // config.patch_size // config.spatial_merge_size * config.spatial_merge_size
        widths[seen] = widths.get(seen, 0) + 2 * block.attn.qkv.out_features // 3
    return widths


def _check(network: Any, tower: Any) -> None:
    config, name = network.config.get_text_config(), type(network).__name__
    found = [setting for setting in _NOT_COUNTED if getattr(config, setting, None)]
    found += sorted({*(getattr(config, "layer_types", None) or ())} - {*_LAYERS})
    found += [
        path
        for path, module in network.named_modules()
        if not _is_matrix(module) and not isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    ]
    if getattr(network.config, "vision_config", None) and not hasattr(tower, "spatial_merge_size"):
        found.append("a vision tower of another kind than Qwen-VL's")
    if found:
        raise ValueError(f"the FLOPs of {name} are not counted: it has {', '.join(found[:3])}")
