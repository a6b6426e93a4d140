"""The recipe of a policy: which model, what of it is trained, in which precision; no weights."""

import copy
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info

from mapo.policies.loading import (
    enable_checkpointing,
    freeze_vision,
    load_config,
    load_generation_config,
    load_network,
    reads_images,
    set_precision,
)
from mapo.policies.model import PolicyModel
from mapo.policies.processor import load_processor, load_tokenizer
from mapo.policies.renderer import Renderer

# Short names would also hit the vision tower, whose layers share them.
_LANGUAGE_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters beside frozen weights (Hu et al., https://arxiv.org/abs/2106.09685)."""

    rank: int = 16
    """Rank of every adapter."""
    alpha: float = 32.0
    """Scale: an adapter's output is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Must be 0: dropout makes the probability ratio of an unchanged policy differ from 1."""
    target_modules: str | None = None
    """Regular expression of module names; None: the linear layers of the language model."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be >= 1, got {self.rank}")
        if self.dropout != 0:
            raise ValueError(
                f"lora.dropout must be 0, got {self.dropout}: with dropout the log-probs of sampling and scoring "
                "differ, so that ratios are not 1 before the first step"
            )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A Hugging Face causal language model or image-text-to-text model, and how it is trained."""

    path: str = "builtin"
    """Hugging Face name, local folder, or "builtin" for the tiny vision-language model inside the package."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    trust_remote_code: bool = False
    """Run the model's own code from the Hub or the folder."""
    lora: Lora | None = None
    """Train low-rank adapters instead of the weights."""
    freeze_vision: bool = False
    """Leave the vision tower as it is."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, much less memory."""
    share_prefix: bool = True
    """Score a prompt and its images once for all of its completions where the model allows it; False: once per row."""
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of weights that are not trained, the reference's included; trained weights are always float32."""
    reference_on_host: bool = False
    """Keep the frozen reference in the host's memory, and copy it to the GPU while it scores a phase."""
    max_prompt_tokens: int = 2048
    """Longer prompts are refused, never cut; images count as the tokens they become."""
    min_pixels: int | None = None
    """Smaller images are enlarged to this area; None: the model's own setting."""
    max_pixels: int | None = None
    """Larger images are shrunk to this area; None: the model's own setting."""
    chat_template: str | None = None
    """Jinja chat template instead of the model's own; needed for base models that have none."""

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1:
            raise ValueError(f"max_prompt_tokens must be >= 1, got {self.max_prompt_tokens}")
        smallest, largest = self.min_pixels, self.max_pixels
        if largest is not None and largest < 1:
            raise ValueError(f"max_pixels must be >= 1, got {largest}")
        if smallest is not None and largest is not None and smallest > largest:
            raise ValueError(f"min_pixels must be <= max_pixels, got {smallest} > {largest}")

    def load_renderer(self) -> Renderer:
        """Load the tokenizer and processor, without weights.

        Raises:
            ValueError: Nothing can be loaded from ``path``, or the model has no chat template.
        """
        path, options = self.resolve(), self._options()
        config = load_config(path, **options)
        tokenizer = load_tokenizer(path, **options)
        processor = None
        if reads_images(config):
            processor = load_processor(path, config.model_type, tokenizer, **options, **self._pixels())
            self._check_pixels(processor.image_processor)
        self._set_chat_template(processor or tokenizer)
        return Renderer(
            tokenizer=tokenizer,
            processor=processor,
            config=config,
            generation_config=load_generation_config(path, config, **options),
            max_prompt_tokens=self.max_prompt_tokens,
        )

    def load_model(self, *, reference: bool) -> PolicyModel:
        """Load the weights.

        Args:
            reference: Also keep the policy as it is now for ``PolicyModel.as_reference``: a frozen copy, or with LoRA
                the base model itself.

        Returns:
            The policy in train mode, on the CPU.

        Raises:
            ValueError: As ``load_renderer``; or there is no vision tower to freeze or no module to adapt.
        """
        renderer = self.load_renderer()
        path, options = self.resolve(), self._options()
        frozen = getattr(torch, self.frozen_dtype)
        # With LoRA nearly all weights are frozen, and a 7B model in float32 would only pass through host memory.
        dtype = frozen if self.lora else torch.float32
        network = load_network(path, load_config(path, **options), dtype=dtype, **options)
        copied = _frozen_copy(network, frozen) if reference and self.lora is None else None
        network = self.prepare(network)
        set_precision(network.parameters(), frozen=frozen)
        policy = PolicyModel(network, renderer, reference=copied, reference_on_host=self.reference_on_host)
        if self.share_prefix and (reason := policy.share_prefix()) is not None:
            rank_zero_info(f"Every completion is scored with its own copy of the prompt, which is slower: {reason}")
        return policy

    def prepare(self, network: Any) -> Any:
        """Return a network of which that much is trained as this recipe says, with adapters where it asks for them."""
        if self.freeze_vision:
            freeze_vision(network)
        if self.gradient_checkpointing:
            enable_checkpointing(network)
        return network if self.lora is None else _add_lora(network, self.lora)

    def resolve(self) -> str:
        """Return the path or Hub name that can be loaded from."""
        if self.path != "builtin":
            return os.path.expanduser(self.path)  # noqa: PTH111 - a Path would drop the "./" that tells a folder
        from mapo.policies.builtin import builtin_path

        return str(builtin_path())

    def _options(self) -> dict[str, Any]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def _pixels(self) -> dict[str, int]:
        bounds = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return {name: value for name, value in bounds.items() if value is not None}

    def _check_pixels(self, image_processor: Any) -> None:
        names = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
        for name, value in self._pixels().items():
            if dict(image_processor.size).get(names[name]) != value:
                raise ValueError(f"{name}={value} has no effect on {type(image_processor).__name__}; leave it out")

    def _set_chat_template(self, speaker: Any) -> None:
        if self.chat_template is not None:
            speaker.chat_template = self.chat_template
        if speaker.chat_template is None:
            raise ValueError(
                f"the model at {self.path!r} has no chat template; name an instruction-tuned model or give "
                "chat_template, e.g. \"{% for m in messages %}{{ m['content'] }}\\n{% endfor %}\""
            )


def _frozen_copy(network: Any, dtype: torch.dtype) -> Any:
    copied = copy.deepcopy(network).requires_grad_(False).eval()
    set_precision(copied.parameters(), frozen=dtype)
    return copied


def _add_lora(network: Any, lora: Lora) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = lora.target_modules
    if targets is None:
        has_tower = any(name.rpartition(".")[2] == "language_model" for name, _ in network.named_modules())
        targets = _LANGUAGE_LAYERS if has_tower else "all-linear"
    return get_peft_model(
        network, LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=targets)
    )
