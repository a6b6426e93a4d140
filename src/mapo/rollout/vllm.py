"""Rollouts by vLLM in the training process."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import distributed
from typing_extensions import override

from mapo.functional.precision import compute_dtype
from mapo.policies.model import PolicyModel
from mapo.policies.renderer import Renderer
from mapo.rollout.mode import sampling_mode
from mapo.rollout.vllm_base import RequestEngine
from mapo.rollout.vllm_local import LocalEngine
from mapo.rollout.vllm_requests import MAX_BANNED_IDS, Answer, Request
from mapo.types import Sampling

_CPU_CACHE_BYTES = 1 << 30


@dataclass
class _State:
    """What runs of a recipe.

    Attributes:
        engine: Started by the first rollout.
        longest_completion: Of all that the run may sample, in tokens.
    """

    engine: LocalEngine | None = None
    longest_completion: int = 0


@dataclass(frozen=True)
class VLLMEngine(RequestEngine):
    """Samples with vLLM in the training process, on the training GPUs, with the policy's weights pushed in place.

    Every rank has an engine of its own, or, with ``tensor_parallel_size`` n, every n ranks share one. New weights are
    handed over whenever they changed, with LoRA merged into them. Its noise and its log-probs are vLLM's: equal
    completions are promised on the same number of ranks alone, and log-probs without top-p and top-k alone.
    """

    tensor_parallel_size: int = 1
    """Consecutive ranks that share an engine; each needs rows in every batch, those of evaluation sets included."""
    prefix_caching: bool = True
    """Read a prompt once for all of its completions."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of weights and products; auto: as the policy computes."""
    gpu_memory_utilization: float = 0.4
    """Share of the GPU's memory that vLLM may use for weights and caches, in (0, 1]."""
    kv_cache_memory_bytes: int | None = None
    """Memory of the caches instead, in bytes; on the CPU 1 GiB when null."""
    max_model_len: int | None = None
    """Most tokens of prompt and completion; null: the longest prompt and the longest completion that the run allows."""
    sleep: bool = True
    """On a GPU, give the memory of weights and caches back while the policy is scored and updated, once a phase."""
    enforce_eager: bool = False
    """Neither compile nor record CUDA graphs: starts sooner, samples slower."""
    engine_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of vllm.LLM, such as revision or trust_remote_code; they win over the fields."""

    def __post_init__(self) -> None:
        if self.tensor_parallel_size < 1:
            raise ValueError(f"tensor_parallel_size must be >= 1, got {self.tensor_parallel_size}")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(f"gpu_memory_utilization must lie in (0, 1], got {self.gpu_memory_utilization}")

    @override
    def check(self, renderer: Renderer, samplings: Sequence[Sampling]) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ValueError(
                "VLLMEngine needs vLLM, which is not installed: pip install 'mapo[vllm]', or leave model.rollout out"
            )
        if torch.cuda.is_available() and len(renderer.banned_ids) > MAX_BANNED_IDS:
            raise ValueError(
                f"the policy bans {len(renderer.banned_ids)} tokens from sampling, and vLLM takes {MAX_BANNED_IDS} on "
                "a GPU; use TransformersEngine"
            )
        ranks = distributed.get_world_size() if distributed.is_initialized() else 1
        if ranks % self.tensor_parallel_size:
            raise ValueError(
                f"tensor_parallel_size={self.tensor_parallel_size} does not divide the {ranks} ranks of the run"
            )
        self._state.longest_completion = max(sampling.max_completion_tokens for sampling in samplings)

    @override
    def answer(
        self, policy: PolicyModel, requests: Sequence[Request], *, max_completion_tokens: int
    ) -> list[list[Answer]]:
        with sampling_mode(policy):
            engine = self._engine(policy, max_completion_tokens)
            engine.update()
            return engine.sample(requests, shared=self.tensor_parallel_size > 1)

    @override
    def rest(self) -> None:
        if self._state.engine is not None:
            self._state.engine.rest()

    @override
    def close(self) -> None:
        if self._state.engine is not None:
            self._state.engine.close()
            self._state.engine = None

    @cached_property
    def _state(self) -> _State:
        return _State()

    def _engine(self, policy: PolicyModel, max_completion_tokens: int) -> LocalEngine:
        state = self._state
        if state.engine is not None and state.engine.policy is not policy:
            self.close()
        if state.engine is None:
            longest = max(state.longest_completion, max_completion_tokens)
            sleeps = self.sleep and policy.device.type == "cuda"
            state.engine = LocalEngine(policy, self._arguments(policy, longest, sleeps), sleeps=sleeps)
        return state.engine

    def _arguments(self, policy: PolicyModel, longest_completion: int, sleeps: bool) -> dict[str, Any]:
        renderer, on_cpu = policy.renderer, policy.device.type == "cpu"
        dtype = str(compute_dtype(next(policy.parameters()))).removeprefix("torch.")
        distributed_ranks = distributed.is_initialized() and distributed.get_world_size() > 1
        return {
            "model": str(renderer.tokenizer.name_or_path),
            "dtype": dtype if self.dtype == "auto" else self.dtype,
            "max_model_len": self.max_model_len or renderer.max_prompt_tokens + longest_completion,
            "tensor_parallel_size": self.tensor_parallel_size,
            "distributed_executor_backend": "external_launcher" if distributed_ranks else None,
            "enable_prefix_caching": self.prefix_caching,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "kv_cache_memory_bytes": self.kv_cache_memory_bytes or (_CPU_CACHE_BYTES if on_cpu else None),
            "enforce_eager": self.enforce_eager,
            "enable_sleep_mode": sleeps,
            "logprobs_mode": "processed_logprobs",
            "generation_config": "vllm",  # or the checkpoint's top-p and top-k would be the default
            "disable_log_stats": True,
            "seed": 0,
            "mm_processor_kwargs": renderer.pixel_limits or None,
            **self.engine_args,
        }
