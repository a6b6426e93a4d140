"""When weights go to vLLM and when it sleeps, with stand-ins for vLLM and for its server."""

import http.server
import json
import threading
from typing import ClassVar

import pytest
import torch

from mapo.policies.policy import Policy
from mapo.rollout import vllm_local
from mapo.rollout.base import RolloutError
from mapo.rollout.vllm_client import NO_VERSION, VLLMClient
from mapo.rollout.vllm_local import LocalEngine
from mapo.rollout.vllm_server import VLLMServer
from mapo.rollout.vllm_weights import version_of
from mapo.types import Sampling

SHORT = Sampling(temperature=0.7, max_completion_tokens=5)


@pytest.fixture
def policy(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False)


def train(policy):
    with torch.no_grad():
        next(iter(policy.trainable_parameters())).add_(0.01)


# -- in the process ----------------------------------------------------------------------------------------------------


class StandIn:
    """Keeps what a ``vllm.LLM`` is told."""

    def __init__(self, network) -> None:
        self.told, self._network = [], network

    def wake_up(self, tags) -> None:
        self.told.append(f"wake {tags[0]}")

    def sleep(self, level) -> None:
        self.told.append(f"sleep {level}")

    def apply_model(self, function):
        return [self._network] if function.__name__ == "<lambda>" else None

    def collective_rpc(self, method, kwargs) -> None:
        self.told.append(method)

    def reset_prefix_cache(self) -> bool:
        return True


@pytest.fixture
def local(policy, monkeypatch):
    """An engine that can sleep, and what its vLLM is told."""
    stand_in = StandIn(policy.model)
    monkeypatch.setattr(vllm_local, "_failures", lambda: (RuntimeError,))
    monkeypatch.setattr(vllm_local, "_start", lambda arguments: stand_in)
    monkeypatch.setattr(vllm_local, "_generate", lambda llm, requests, shared: stand_in.told.append("generate") or [])
    return LocalEngine(policy, {}, sleeps=True), stand_in.told


def draw(engine):
    engine.update()
    engine.sample([], shared=False)


def test_an_engine_stays_awake_with_the_same_weights_until_it_is_told_to_rest(local, policy):
    engine, told = local
    for _ in range(3):  # waves of a phase, or batches of a validation
        draw(engine)
    assert told == ["reload_weights", "generate", "generate", "generate"]
    told.clear()
    engine.rest()
    engine.rest()
    assert told == ["sleep 2"]
    told.clear()
    draw(engine)  # sleep has cost it its weights, changed or not; its caches come back once they are there
    draw(engine)
    assert told == ["wake weights", "reload_weights", "wake kv_cache", "generate", "generate"]


def test_weights_that_changed_while_it_is_awake_are_handed_over(local, policy):
    engine, told = local
    draw(engine)
    train(policy)
    draw(engine)
    draw(engine)
    assert told == ["reload_weights", "generate", "reload_weights", "generate", "generate"]


# -- a server ----------------------------------------------------------------------------------------------------------


class StandInServer(http.server.BaseHTTPRequestHandler):
    """Remembers a version of its weights, as vLLM does, until it starts anew."""

    told: ClassVar[list[str]] = []
    version = "default"
    fails = ""

    def do_GET(self) -> None:
        card = {"data": [{"id": "policy", "max_model_len": 4096}]}
        self.reply(card if self.path == "/v1/models" else {"weight_version": StandInServer.version})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        path = self.path.partition("?")[0]
        self.told.append(path)
        if path == StandInServer.fails:
            self.send_error(404)
            return
        if path == "/update_weight_version":
            StandInServer.version = body["new_version"]
        self.reply({"success": True, "choices": []})

    def reply(self, body) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def url():
    StandInServer.told.clear()
    StandInServer.version, StandInServer.fails = "default", ""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandInServer)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def ask(engine, policy):
    """Have it answer nothing, and return how often it was given weights meanwhile."""
    before = StandInServer.told.count("/collective_rpc")
    engine.answer(policy, [], max_completion_tokens=5)
    return StandInServer.told.count("/collective_rpc") - before


def test_a_server_is_given_weights_when_they_changed_and_when_it_was_started_anew(url, policy, tmp_path):
    engine = VLLMServer(str(tmp_path / "weights"), url=url)
    engine.check(policy.renderer, [SHORT])
    assert [ask(engine, policy) for _ in range(3)] == [1, 0, 0]
    assert StandInServer.version == version_of(policy)
    train(policy)
    assert [ask(engine, policy) for _ in range(2)] == [1, 0]
    StandInServer.version = "default"  # as after a restart, with the weights that are on its disk
    assert [ask(engine, policy) for _ in range(2)] == [1, 0]


def test_a_server_with_the_weights_of_another_run_is_given_this_ones(url, policy, tmp_path):
    StandInServer.version = version_of(policy)  # of the trained weights alone: the frozen ones may be others
    engine = VLLMServer(str(tmp_path / "weights"), url=url)
    engine.check(policy.renderer, [SHORT])
    assert ask(engine, policy) == 1


def test_weights_that_did_not_arrive_whole_are_sent_again(url, policy, tmp_path):
    client = VLLMClient(url, timeout_s=10, connections=1)
    client.set_weights_version("old")
    StandInServer.fails = "/reset_prefix_cache"
    with pytest.raises(RolloutError, match=r"refuses /reset_prefix_cache \(404\)"):
        client.load_weights("folder", "new")
    assert client.weights_version() == NO_VERSION
    StandInServer.fails = ""
    client.load_weights("folder", "new")
    assert client.weights_version() == "new"


def test_a_server_without_development_endpoints_is_refused_at_the_start(url, policy, tmp_path):
    StandInServer.fails = "/update_weight_version"
    with pytest.raises(ValueError, match=r"(?s)refuses /update_weight_version \(404\).*VLLM_SERVER_DEV_MODE=1"):
        VLLMServer(str(tmp_path / "weights"), url=url).check(policy.renderer, [SHORT])
