"""Rollouts by a vLLM server that runs beside the training, on its own GPUs or another machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import distributed
from typing_extensions import override

from mapo.policies.model import PolicyModel
from mapo.policies.renderer import Renderer
from mapo.rollout.base import RolloutError
from mapo.rollout.mode import sampling_mode
from mapo.rollout.vllm_base import RequestEngine
from mapo.rollout.vllm_client import NO_VERSION, VLLMClient
from mapo.rollout.vllm_requests import Answer, Request
from mapo.rollout.vllm_weights import version_of, whole_weights
from mapo.types import Sampling

_POLL_S = 0.05


@dataclass(frozen=True)
class VLLMServer(RequestEngine):
    """Samples by asking a running ``vllm serve``; all ranks ask the same one.

    Whenever the server has other weights than the policy, also since it was started anew, rank 0 writes the policy's to
    ``weights_folder`` and has the server read them there. For that the server needs its development endpoints
    (``VLLM_SERVER_DEV_MODE=1``), which let whoever reaches them run code: keep it on the loopback address or in a
    network of its own. It has to be started on the policy's model with
    ``--logprobs-mode processed_logprobs --generation-config vllm``; docs/vllm.md has the command.
    """

    weights_folder: str
    """Folder that this run writes and the server reads; in memory, such as below /dev/shm, it is fast."""
    url: str = "http://127.0.0.1:8000"
    """Where the server listens."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the weights as they are written; the server casts them to its own."""
    timeout_s: float = 1800.0
    """Longest time in seconds that one group of completions, or one transfer of weights, may take."""
    connections: int = 64
    """Prompts that are asked for at the same time, by each rank."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must start with http:// or https://, got {self.url!r}")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be > 0, got {self.timeout_s}")
        if self.connections < 1:
            raise ValueError(f"connections must be >= 1, got {self.connections}")

    @override
    def check(self, renderer: Renderer, samplings: Sequence[Sampling]) -> None:
        needed = renderer.max_prompt_tokens + max(sampling.max_completion_tokens for sampling in samplings)
        try:
            _, limit = self._client.model()
        except RolloutError as error:
            raise ValueError(
                f"{error}; start one as docs/vllm.md shows, or name its address in model.rollout.url"
            ) from error
        if limit is not None and limit < needed:
            raise ValueError(
                f"the vLLM server at {self.url} takes {limit} tokens of prompt and completion, and this run may need "
                f"{needed}: start it with --max-model-len {needed}, or lower policy.max_prompt_tokens or "
                "max_completion_tokens"
            )
        if _rank() == 0:
            self._forget_weights()

    @override
    def answer(
        self, policy: PolicyModel, requests: Sequence[Request], *, max_completion_tokens: int
    ) -> list[list[Answer]]:
        with sampling_mode(policy):
            self._update(policy)
        model, _ = self._client.model()
        return self._client.complete(requests, model=model, pixel_limits=policy.renderer.pixel_limits)

    @cached_property
    def _client(self) -> VLLMClient:
        return VLLMClient(self.url, timeout_s=self.timeout_s, connections=self.connections)

    def _forget_weights(self) -> None:
        """Have the server take its weights for those of another run, which the trained ones alone do not tell."""
        try:
            self._client.set_weights_version(NO_VERSION)
        except RolloutError as error:
            raise ValueError(
                f"{error}; new weights need its development endpoints: start it with VLLM_SERVER_DEV_MODE=1"
            ) from error

    def _update(self, policy: PolicyModel) -> None:
        """Bring the server to the policy's weights, which every rank has alike, and wait until it has them."""
        version = version_of(policy)
        if self._client.weights_version() == version:
            return
        if _rank() == 0:
            self._push(policy, version)
        deadline = time.monotonic() + self.timeout_s
        while self._client.weights_version() != version:
            if time.monotonic() > deadline:
                raise RolloutError(f"rank 0 brought no new weights to the vLLM server within {self.timeout_s:g} s")
            time.sleep(_POLL_S)

    def _push(self, policy: PolicyModel, version: str) -> None:
        folder = Path(self.weights_folder)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_weights(policy) as weights:
            dtype = getattr(torch, self.dtype)
            save_file(
                {name: weight.to("cpu", dtype).contiguous() for name, weight in weights.items()},
                folder / "model.safetensors",
                metadata={"format": "pt"},
            )
        self._client.load_weights(str(folder.resolve()), version)


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
