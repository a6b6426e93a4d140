"""A running vLLM engine inside this process, and the state of its weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from tqdm import tqdm
from typing_extensions import override

from mapo.functional.stages import tell_stage
from mapo.policies.model import PolicyModel
from mapo.rollout.base import RolloutError
from mapo.rollout.vllm_process import Enclosure, rank_environment, shut_down
from mapo.rollout.vllm_requests import Answer, Request, check_expanded
from mapo.rollout.vllm_weights import check_names, pack_heads, version_of, whole_weights

T = TypeVar("T")

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process, where weights are handed over and not sent
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


class LocalEngine:
    """One ``vllm.LLM``, given new weights when there are some, and asleep when told to rest where it can be."""

    def __init__(self, policy: PolicyModel, arguments: Mapping[str, Any], *, sleeps: bool) -> None:
        """Start vLLM.

        Args:
            policy: Whose weights it is going to have.
            arguments: Of ``vllm.LLM``.
            sleeps: Give the memory of weights and caches back at every ``rest``.

        Raises:
            RolloutError: It does not start.
        """
        self.policy, self._sleeps, self._asleep = policy, sleeps, False
        self._version: str | None = None
        self._checked = False
        self._enclosure = Enclosure(_ENVIRONMENT | rank_environment())
        self._found_group = distributed.is_available() and distributed.is_initialized()
        self._llm = self._run("start", lambda: _start(arguments))

    def update(self) -> None:
        """Wake vLLM and give it the policy's weights, unless it has them.

        Raises:
            ValueError: They are not those of the network that vLLM runs.
            RolloutError: vLLM fails.
        """
        if self._asleep:
            self._run("wake up", lambda: self._llm.wake_up(tags=["weights"]))
        version = version_of(self.policy)
        if version != self._version:
            with whole_weights(self.policy) as weights:
                self._check_names(weights)
                self._run("take new weights", lambda: self._load(weights))
            self._version = version
        if self._asleep:
            self._run("wake up", lambda: self._llm.wake_up(tags=["kv_cache"]))
            self._asleep = False

    def sample(self, requests: Sequence[Request], *, shared: bool) -> list[list[Answer]]:
        """Return the completions of every request.

        Args:
            requests: Of this rank.
            shared: Whether several ranks are one engine, which then answers the requests of all of them.

        Raises:
            ValueError: vLLM reads a prompt otherwise than the policy.
            RolloutError: vLLM fails.
        """
        outputs = self._run("sample", lambda: _generate(self._llm, requests, shared))
        for request, output in zip(requests, outputs, strict=True):
            check_expanded(request, output.prompt_token_ids)
        return [[_answer(completion) for completion in output.outputs] for output in outputs]

    def rest(self) -> None:
        """Fall asleep, if it can and does not sleep yet."""
        if self._sleeps and not self._asleep:
            self._run("fall asleep", lambda: self._llm.sleep(level=2))  # keeps no weights: it is given them again
            self._asleep, self._version = True, None

    def close(self) -> None:
        """Free its memory, and leave the process group as it was found."""
        if self._llm is not None:
            self._run("end", lambda: shut_down(self._llm, keep_group=self._found_group))
        self._llm = None

    def _check_names(self, weights: Mapping[str, Tensor]) -> None:
        if not self._checked:
            (network,) = self._run("show its network", lambda: self._llm.apply_model(lambda network: network))
            check_names(network, weights)
            self._checked = True

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        self._llm.apply_model(pack_heads)
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("it still holds prompts that it read with the weights before")

    def _run(self, what: str, action: Callable[[], T]) -> T:
        """Run vLLM's code in its enclosure; a failure there ends the engine, and the run in one line."""
        try:
            with self._enclosure():
                return action()
        except _failures() as error:
            self._llm = None
            raise RolloutError(f"vLLM failed to {what}: {_first_line(error)}") from error


def _failures() -> tuple[type[Exception], ...]:
    """Return what vLLM, and the kernels below it, were seen to raise."""
    from vllm.exceptions import VLLMError

    return (VLLMError, RuntimeError, ValueError, OSError, AssertionError, AttributeError, LookupError)


def _start(arguments: Mapping[str, Any]) -> Any:
    from vllm import LLM

    return LLM(**arguments)


class _Told(tqdm):
    """What vLLM takes for its progress bar: told to whoever watches, and not drawn."""

    monitor_interval = 0  # which would be a thread

    @override
    def display(self, *args: Any, **kwargs: Any) -> bool:
        return True

    @override
    def update(self, n: float | None = 1) -> bool | None:
        drawn = super().update(n)
        tell_stage("completions sampled", int(self.n), int(self.total))
        return drawn


def _generate(llm: Any, requests: Sequence[Request], shared: bool) -> list[Any]:
    from vllm import SamplingParams

    asked = [(_prompt(request), request.sampling) for request in requests]
    own = slice(0, len(asked))
    if shared:
        asked, own = _asked_by_all(asked)
    parameters = [SamplingParams(**sampling, logprobs=0, detokenize=False) for _, sampling in asked]
    return llm.generate([prompt for prompt, _ in asked], parameters, use_tqdm=_Told)[own]


def _asked_by_all(asked: list[Any]) -> tuple[list[Any], slice]:
    """Return what all ranks of a tensor-parallel engine ask, which each of them submits, and the place of its own."""
    from vllm.distributed.parallel_state import get_tp_group

    group = get_tp_group().cpu_group
    everyone: list[list[Any]] = [[] for _ in range(group.size())]
    distributed.all_gather_object(everyone, asked, group=group)
    start = sum(len(part) for part in everyone[: group.rank()])
    return [one for part in everyone for one in part], slice(start, start + len(asked))


def _prompt(request: Request) -> dict[str, Any]:
    prompt: dict[str, Any] = {"prompt_token_ids": request.token_ids}
    return prompt | {"multi_modal_data": {"image": request.images}} if request.images else prompt


def _answer(completion: Any) -> Answer:
    token_ids = list(completion.token_ids)
    logprobs = [at[token].logprob for at, token in zip(completion.logprobs, token_ids, strict=True)]
    return Answer(torch.tensor(token_ids, dtype=torch.int64), torch.tensor(logprobs, dtype=torch.float32))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
