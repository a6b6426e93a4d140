"""Rollouts by a vLLM server that runs beside the training, on its own GPUs or another machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors.torch import save_file
from torch import distributed
from typing_extensions import override

from mapo.policies.model import PolicyModel
from mapo.policies.renderer import Renderer
from mapo.rollout.base import RolloutEngine, RolloutError
from mapo.rollout.mode import sampling_mode
from mapo.rollout.records import build_rollouts
from mapo.rollout.vllm_client import VLLMClient
from mapo.rollout.vllm_requests import build_requests, read_groups, reports_logprobs
from mapo.rollout.vllm_weights import version_of, whole_weights
from mapo.types import EncodedPrompt, Rollouts, Sampling

_VERSION_FILE = "version.txt"
_POLL_S = 0.05


@dataclass(frozen=True)
class VLLMServer(RolloutEngine):
    """Samples by asking a running ``vllm serve``; all ranks ask the same one.

    Whenever the weights changed, rank 0 writes them to ``weights_folder`` and has the server read them there. For that
    the server needs its development endpoints (``VLLM_SERVER_DEV_MODE=1``), which let whoever reaches them run code:
    keep it on the loopback address or in a network of its own. It has to be started on the policy's model with
    ``--logprobs-mode processed_logprobs --generation-config vllm``; docs/vllm.md has the command.
    """

    copies_weights: ClassVar[bool] = True

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
            self._version_file.unlink(missing_ok=True)  # an earlier run's, of which this server knows nothing

    @override
    def reports_logprobs(self, sampling: Sampling) -> bool:
        return reports_logprobs(sampling)

    @override
    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        renderer = policy.renderer
        requests = build_requests(renderer, prompts, group_size=group_size, sampling=sampling, streams=streams)
        with sampling_mode(policy):
            self._update(policy)
        model, _ = self._client.model()
        answers = self._client.complete(requests, model=model, pixel_limits=renderer.pixel_limits)
        token_ids, logprobs = read_groups(requests, answers, known=reports_logprobs(sampling))
        return build_rollouts(
            renderer, prompts, token_ids, logprobs, group_size=group_size, temperature=sampling.temperature
        )

    @cached_property
    def _client(self) -> VLLMClient:
        return VLLMClient(self.url, timeout_s=self.timeout_s, connections=self.connections)

    @property
    def _version_file(self) -> Path:
        return Path(self.weights_folder) / _VERSION_FILE

    def _update(self, policy: PolicyModel) -> None:
        """Bring the server to the policy's weights, which every rank has alike, and wait until it has them."""
        version = version_of(policy)
        if self._served_version() == version:
            return
        if _rank() == 0:
            self._push(policy)
            self._version_file.write_text(version, encoding="utf-8")
        deadline = time.monotonic() + self.timeout_s
        while self._served_version() != version:
            if time.monotonic() > deadline:
                raise RolloutError(f"rank 0 brought no new weights to the vLLM server within {self.timeout_s:g} s")
            time.sleep(_POLL_S)

    def _served_version(self) -> str:
        return self._version_file.read_text(encoding="utf-8") if self._version_file.is_file() else ""

    def _push(self, policy: PolicyModel) -> None:
        folder = Path(self.weights_folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._version_file.unlink(missing_ok=True)
        with whole_weights(policy) as weights:
            dtype = getattr(torch, self.dtype)
            save_file(
                {name: weight.to("cpu", dtype).contiguous() for name, weight in weights.items()},
                folder / "model.safetensors",
                metadata={"format": "pt"},
            )
        self._client.load_weights(str(folder.resolve()))


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
