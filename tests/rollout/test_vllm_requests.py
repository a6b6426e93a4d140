"""What vLLM is asked and how its answers are read, without vLLM."""

import contextlib
import http.server
import importlib.util
import io
import json
import os
import sys
import threading
from typing import ClassVar

import pytest
import torch
from torch import nn

from mapo.functional.stages import watch_stages
from mapo.policies.policy import Policy
from mapo.rollout.base import RolloutError
from mapo.rollout.vllm import VLLMEngine
from mapo.rollout.vllm_client import VLLMClient
from mapo.rollout.vllm_process import Enclosure
from mapo.rollout.vllm_requests import Answer, build_requests, check_expanded, read_groups, reports_logprobs, seed_of
from mapo.rollout.vllm_server import VLLMServer
from mapo.rollout.vllm_weights import check_names
from mapo.types import Sampling

WARM = Sampling(temperature=0.7, max_completion_tokens=5)


@pytest.fixture(scope="module")
def renderer(tiny_vl_path):
    return Policy(path=str(tiny_vl_path), min_pixels=784, max_pixels=4 * 784).load_renderer()


@pytest.fixture
def requests(renderer, make_prompt):
    """One with a text alone, one with two pictures."""
    prompts = [make_prompt("text"), make_prompt("two", (56, 56), (84, 28))]
    encoded = [renderer.encode(prompt) for prompt in prompts]
    return build_requests(renderer, encoded, group_size=3, sampling=WARM, streams=[5, -7])


def test_pictures_go_with_one_placeholder_each_which_the_engine_expands(renderer, requests):
    text, pictures = requests
    assert text.token_ids == text.prompt.input_ids.tolist()
    assert not text.images
    placeholder = renderer.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert pictures.token_ids.count(placeholder) == len(pictures.images) == 2
    own = pictures.prompt.input_ids.tolist()
    assert own.count(placeholder) == 4 + 3  # 28 x 28 pixels per token
    expanded = [[placeholder] * count for count in (4, 3)]
    read = [part for token in pictures.token_ids for part in (expanded.pop(0) if token == placeholder else [token])]
    assert read == own
    check_expanded(pictures, own)
    with pytest.raises(
        ValueError, match=rf"sample 'row' as {len(own) - 1} tokens, the policy as {len(own)}: .*max_pixels"
    ):
        check_expanded(pictures, own[1:])
    assert renderer.pixel_limits == {"min_pixels": 784, "max_pixels": 3136}


def test_law_ends_and_bans_are_the_policys(renderer, requests):
    sampling = requests[0].sampling
    assert (sampling["n"], sampling["temperature"], sampling["max_tokens"]) == (3, 0.7, 5)
    assert sampling["ignore_eos"] is True
    assert tuple(sampling["stop_token_ids"]) == renderer.eos_ids
    assert set(sampling["logit_bias"]) == set(renderer.banned_ids)
    assert json.loads(json.dumps(sampling))["logit_bias"]  # no infinity, which JSON lacks


def test_seeds_of_two_prompts_never_meet():
    seeds = [seed_of(stream, 12) for stream in (-(2**63), -1, 0, 1, 2**63 - 1)]
    assert all(0 <= seed < 2**63 - 12 and seed % 12 == 0 for seed in seeds)
    assert len(set(seeds)) == len(seeds)


def test_a_greedy_completion_is_asked_for_once_and_counts_for_the_group(renderer, make_prompt):
    encoded = [renderer.encode(make_prompt("text"))]
    asked = build_requests(renderer, encoded, group_size=3, sampling=Sampling(temperature=0.0), streams=[1])
    assert asked[0].sampling["n"] == 1
    answer = Answer(torch.tensor([4, 5]), torch.tensor([-1.0, -2.0]))
    token_ids, logprobs = read_groups(asked, [[answer]], known=True)
    assert [ids.tolist() for ids in token_ids] == [[4, 5]] * 3
    assert logprobs[2].equal(answer.logprobs)


def test_log_probs_of_a_truncated_law_are_not_known(requests):
    assert reports_logprobs(WARM)
    assert not reports_logprobs(Sampling(top_p=0.99))
    assert not reports_logprobs(Sampling(top_k=7))
    answer = Answer(torch.tensor([4]), torch.tensor([-1.0]))
    _, logprobs = read_groups(requests[:1], [[answer] * 3], known=False)
    assert torch.cat(logprobs).isnan().all()


def test_streams_are_one_per_prompt(renderer, make_prompt):
    with pytest.raises(ValueError, match="one stream per prompt, got 2 for 1"):
        build_requests(renderer, [renderer.encode(make_prompt("t"))], group_size=2, sampling=WARM, streams=[1, 2])


# -- what is refused before anything is loaded -------------------------------------------------------------------------


def test_without_vllm_the_command_that_installs_it_is_named(renderer, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"VLLMEngine needs vLLM, .*pip install 'mapo\[vllm\]'"):
        VLLMEngine().check(renderer, [WARM])


def test_more_bans_than_a_gpu_takes_are_refused(renderer, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    VLLMEngine().check(renderer, [WARM])
    monkeypatch.setattr(renderer, "banned_ids", tuple(range(1025)))
    with pytest.raises(ValueError, match="bans 1025 tokens from sampling, and vLLM takes 1024"):
        VLLMEngine().check(renderer, [WARM])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VLLMEngine(tensor_parallel_size=0), "tensor_parallel_size must be >= 1, got 0"),
        (lambda: VLLMEngine(gpu_memory_utilization=0), r"must lie in \(0, 1\], got 0"),
        (lambda: VLLMServer("w", url="localhost:8000"), "must start with http.*'localhost:8000'"),
        (lambda: VLLMServer("w", timeout_s=0), "timeout_s must be > 0, got 0"),
        (lambda: VLLMServer("w", connections=0), "connections must be >= 1, got 0"),
    ],
)
def test_recipes_refuse_what_cannot_work(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# -- names of weights --------------------------------------------------------------------------------------------------


class Fused(nn.Module):
    """As vLLM names weights: three projections are one."""

    packed_modules_mapping: ClassVar = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"qkv_proj": nn.Linear(2, 6, bias=False), "o_proj": nn.Linear(2, 2, bias=False)})


def test_names_fit_when_every_weight_has_its_place():
    names = [f"attn.{part}_proj.weight" for part in "qkvo"]
    check_names(Fused(), dict.fromkeys(names, torch.zeros(1)))
    with pytest.raises(ValueError, match=r"Fused in vLLM .* would not be given 1 of 2, 'attn\.o_proj\.weight'"):
        check_names(Fused(), dict.fromkeys(names[:-1], torch.zeros(1)))
    with pytest.raises(ValueError, match=r"does not know 1 of 2, 'attn\.q_norm\.weight'"):
        check_names(Fused(), dict.fromkeys([*names, "attn.q_norm.weight"], torch.zeros(1)))


# -- the process -------------------------------------------------------------------------------------------------------


def test_what_runs_enclosed_has_its_own_environment_again_and_leaves_ours(monkeypatch):
    monkeypatch.setenv("SHARED", "ours")
    enclosure, seen, threads = Enclosure({"THEIRS": "1"}), [], torch.set_num_threads
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    for _ in range(2):
        with pytest.raises(RuntimeError), enclosure():
            misbehave(seen)
        assert os.environ["SHARED"] == "ours"
        assert "ADDED" not in os.environ
        assert "THEIRS" not in os.environ
        assert torch.set_num_threads is threads
    assert seen == [("ours", None), ("theirs", "2")]
    assert torch.rand(1) == expected


def misbehave(seen):
    seen.append((os.environ.get("SHARED"), os.environ.get("ADDED")))
    os.environ.update(SHARED="theirs", ADDED="2")
    torch.set_num_threads = lambda num: None
    torch.manual_seed(99)
    raise RuntimeError


def test_captured_output_has_no_descriptor_and_is_left_outside():
    captured = io.StringIO()
    with contextlib.redirect_stdout(captured):
        with Enclosure({})():
            assert sys.stdout.fileno() >= 0
        assert sys.stdout is captured


# -- HTTP --------------------------------------------------------------------------------------------------------------


class FakeServer(http.server.BaseHTTPRequestHandler):
    """Answers as vLLM does, each completion a token that tells its seed."""

    asked: ClassVar[list[tuple[str, dict]]] = []

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "policy", "max_model_len": 64}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        self.asked.append((self.path, body))
        if self.path.startswith("/collective_rpc") and body["kwargs"]["weights_path"] == "bad":
            self.send_error(500, "no such weights")
            return
        chat = "chat" in self.path
        choices = [
            {
                "index": index,
                "token_ids": [body["seed"] + index],
                "logprobs": {"content": [{"logprob": -0.5}]} if chat else {"token_logprobs": [-0.5]},
            }
            for index in reversed(range(body.get("n", 0)))
        ]
        self.reply({"choices": choices, "prompt_token_ids": [1], "success": True})

    def reply(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    FakeServer.asked.clear()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeServer)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_completions_come_back_in_the_order_of_their_seeds(server, requests):
    client = VLLMClient(server, timeout_s=10, connections=4)
    told = []
    watch_stages(lambda *stage: told.append(stage))
    groups = client.complete([requests[0]] * 3, model="policy", pixel_limits={})
    watch_stages(None)
    assert told == [("prompts answered", done, 3) for done in (1, 2, 3)]
    seed = requests[0].sampling["seed"]
    assert [[answer.token_ids.tolist() for answer in group] for group in groups] == [
        [[seed], [seed + 1], [seed + 2]]
    ] * 3
    assert groups[0][0].logprobs.tolist() == [-0.5]
    path, body = FakeServer.asked[0]
    assert (path, body["prompt"]) == ("/v1/completions", requests[0].token_ids)


def test_pictures_are_sent_as_chat_and_what_becomes_of_them_is_compared(server, requests):
    client = VLLMClient(server, timeout_s=10, connections=4)
    with pytest.raises(ValueError, match="as 1 tokens, the policy as"):
        client.complete(requests[1:], model="policy", pixel_limits={"max_pixels": 3136})
    path, body = FakeServer.asked[0]
    parts = [part["type"] for part in body["messages"][0]["content"]]
    assert (path, parts) == ("/v1/chat/completions", ["image_url", "image_url", "text"])
    assert body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert body["mm_processor_kwargs"] == {"max_pixels": 3136}


def test_weights_are_read_between_pause_and_resume_also_when_that_fails(server):
    client = VLLMClient(server, timeout_s=10, connections=1)
    client.load_weights("folder", "7")
    with pytest.raises(RolloutError, match=rf"server at {server} refuses /collective_rpc \(500\)"):
        client.load_weights("bad", "8")
    paths = [path.partition("?")[0] for path, _ in FakeServer.asked]
    assert paths == [
        "/update_weight_version",
        "/pause",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/resume",
        "/update_weight_version",
        "/update_weight_version",
        "/pause",
        "/collective_rpc",
        "/resume",
    ]


def test_a_server_too_short_or_absent_is_refused_before_anything_is_loaded(server, renderer, tmp_path):
    with pytest.raises(ValueError, match=r"takes 64 tokens .* may need 2053: start it with --max-model-len 2053"):
        VLLMServer(str(tmp_path), url=server).check(renderer, [WARM])
    with pytest.raises(ValueError, match=r"127.0.0.1:9 does not answer /v1/models: .*docs/vllm.md"):
        VLLMServer(str(tmp_path), url="http://127.0.0.1:9").check(renderer, [WARM])
