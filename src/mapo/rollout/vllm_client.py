"""The HTTP interface of a vLLM server: what rollouts and weight updates need of it."""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import torch
from PIL import Image

from mapo.functional.stages import tell_stage
from mapo.policies.chat import as_parts
from mapo.rollout.base import RolloutError
from mapo.rollout.vllm_requests import Answer, Request, check_expanded

_SHORT_S = 60.0
NO_VERSION = "unknown"


class VLLMClient:
    """Speaks to one server; holds no connection open, so there is nothing to close."""

    def __init__(self, url: str, *, timeout_s: float, connections: int) -> None:
        """Take where the server is.

        Args:
            url: Without a path.
            timeout_s: How long a group of completions may take.
            connections: Prompts that are asked for at the same time.
        """
        self._url, self._timeout_s, self._connections = url.rstrip("/"), timeout_s, connections

    def model(self) -> tuple[str, int | None]:
        """Return the name of the model that is served, and how many tokens prompt and completion may have."""
        card = self._send("GET", "/v1/models")["data"][0]
        return card["id"], card.get("max_model_len")

    def complete(
        self, requests: Sequence[Request], *, model: str, pixel_limits: Mapping[str, int]
    ) -> list[list[Answer]]:
        """Return the completions of every request, all of which are under way together.

        Raises:
            ValueError: The server reads a prompt otherwise than the policy.
            RolloutError: It cannot be reached, or refuses.
        """
        with ThreadPoolExecutor(self._connections) as pool:
            pending = [pool.submit(self._complete, request, model, pixel_limits) for request in requests]
            try:
                for done, future in enumerate(as_completed(pending), start=1):
                    future.result()  # raises at once if this one has failed
                    tell_stage("prompts answered", done, len(pending))
                return [future.result() for future in pending]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # one that failed makes the others useless

    def weights_version(self) -> str:
        """Return what the server was last told of its weights; a server that has just started knows of none."""
        return str(self._send("GET", "/weight_info")["weight_version"])

    def set_weights_version(self, version: str) -> None:
        """Tell the server of its weights what it forgets when it ends, as it does the weights."""
        self._send("POST", "/update_weight_version", {"new_version": version})

    def load_weights(self, folder: str, version: str) -> None:
        """Have the server read weights from a folder that it sees, and forget what it computed with others."""
        self.set_weights_version(NO_VERSION)  # until all of them are there
        self._send("POST", "/pause?mode=wait", timeout_s=self._timeout_s)  # until what is under way is done
        try:
            asked = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            self._send("POST", "/collective_rpc", asked, timeout_s=self._timeout_s)
            reply = self._send("POST", "/reset_prefix_cache")
        finally:
            self._send("POST", "/resume")
        if not reply.get("success", True):
            raise RolloutError(f"the vLLM server at {self._url} still holds prompts read with the weights before")
        self.set_weights_version(version)

    def _complete(self, request: Request, model: str, pixel_limits: Mapping[str, int]) -> list[Answer]:
        asked = {"model": model, "return_token_ids": True, "return_tokens_as_token_ids": True, **request.sampling}
        if request.images:
            of_chat = {"messages": _messages(request), "logprobs": True, "top_logprobs": 0}
            of_chat |= {"mm_processor_kwargs": dict(pixel_limits)} if pixel_limits else {}
            reply = self._send("POST", "/v1/chat/completions", asked | of_chat, timeout_s=self._timeout_s)
            check_expanded(request, reply.get("prompt_token_ids"))
        else:
            of_text = {"prompt": request.token_ids, "logprobs": 0}
            reply = self._send("POST", "/v1/completions", asked | of_text, timeout_s=self._timeout_s)
        return [_answer(choice) for choice in sorted(reply["choices"], key=lambda choice: choice["index"])]

    def _send(self, method: str, path: str, body: Any = None, *, timeout_s: float = _SHORT_S) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            raise RolloutError(f"the vLLM server at {self._url} refuses {path} ({error.code}): {said}") from error
        except OSError as error:  # refused, reset, timed out: URLError is one, too
            raise RolloutError(f"the vLLM server at {self._url} does not answer {path}: {error}") from error
        return json.loads(content) if content else {}


def _messages(request: Request) -> list[dict[str, Any]]:
    """Return chat messages with the pictures in them, as PNG, which loses nothing."""
    images = iter(request.images)
    return [
        {**message, "content": [_part(part, images) for part in message["content"]]}
        for message in as_parts(request.prompt.prompt.messages)
    ]


def _part(part: Mapping[str, Any], images: Any) -> dict[str, Any]:
    if part["type"] != "image":
        return dict(part)
    return {"type": "image_url", "image_url": {"url": _data_url(next(images))}}


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _answer(choice: Mapping[str, Any]) -> Answer:
    logprobs = choice["logprobs"]
    of_tokens = logprobs.get("token_logprobs") or [token["logprob"] for token in logprobs.get("content") or ()]
    return Answer(torch.tensor(choice["token_ids"], dtype=torch.int64), torch.tensor(of_tokens, dtype=torch.float32))
