"""Training with vLLM through the command line: in this process and over HTTP, and what is left when it breaks down."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

pytest.importorskip("vllm", reason="`make test-vllm` runs this in an environment of its own")

from command_line import invoke
from test_vllm import GREEDY, disturb, draw, largest_gap, tokens

from mapo.policies.policy import Policy
from mapo.rollout.base import RolloutError
from mapo.rollout.transformers import TransformersEngine
from mapo.rollout.vllm_local import LocalEngine
from mapo.rollout.vllm_server import VLLMServer

RUN = ["--config", "configs/mapo_tiny_text.yaml"]
SHORT = [
    "--validate_before_fit=false",
    "--trainer.limit_val_batches=0",
    "--trainer.limit_train_batches=3",
    "--trainer.max_epochs=1",
    "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {save_last: true, every_n_train_steps: 1}}]",
    "--data.num_train=16",
    "--data.num_eval=3",
    "--data.batch_size=4",
    "--model.group_size=4",
    "--model.policy.max_prompt_tokens=128",
    "--model.sampling.max_completion_tokens=32",
]
IN_PROCESS = ["--config", "configs/rollout/vllm.yaml", "--model.rollout.enforce_eager=true"]
CORRECTED = ["--model.sampling.top_p=1", "--model.sampler_correction.level=token"]


def fit(folder, path, *arguments):
    return invoke(folder, "fit", *RUN, *SHORT, f"--model.policy.path={path}", *arguments)


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def assert_engine_and_policy_agree(folder):
    prefix = "train/trained_groups/"  # without a reference, silent groups are skipped
    assert len(scalars(folder, "train/reward")) == 3
    for gap, weight, kl in zip(
        *(scalars(folder, prefix + name) for name in ("sampling_gap", "sampler_weight", "sampler_kl")), strict=True
    ):
        assert 0 < gap < 1e-4  # float32 on both sides, of other kernels; phases 2 and 3 with weights that were pushed
        assert weight == pytest.approx(1.0, abs=1e-4)
        assert 0 <= kl < 1e-6
    assert min(scalars(folder, prefix + "sampler_effective_share")) > 0.999
    assert max(scalars(folder, prefix + "sampler_weight_max")) < 1.01


def test_training_in_process_with_importance_weights(tmp_path, language_path):
    outcome = fit(tmp_path, language_path, *IN_PROCESS, *CORRECTED)
    assert outcome.code == 0, outcome.err
    assert_engine_and_policy_agree(tmp_path)


def test_truncated_sampling_trains_on_the_policys_own_log_probs_and_is_checked_all_the_same(
    tmp_path, language_path, monkeypatch
):
    checked = []
    sample = LocalEngine.sample
    monkeypatch.setattr(
        LocalEngine,
        "sample",
        lambda self, requests, **how: checked.append(requests[0].sampling["top_p"]) or sample(self, requests, **how),
    )
    outcome = fit(tmp_path, language_path, *IN_PROCESS)  # top_p 0.99, as in the paper
    assert outcome.code == 0, outcome.err
    assert checked == [0.99, 1.0, 0.99, 1.0, 0.99]
    with pytest.raises(KeyError):
        scalars(tmp_path, "train/trained_groups/sampling_gap")
    refused = fit(tmp_path, language_path, *IN_PROCESS, "--model.sampler_correction.level=token")
    assert (
        "sampler_correction needs log-probs that VLLMEngine cannot report with model.sampling.top_p=0.99"
        in refused.error
    )


def test_a_crash_ends_the_run_in_one_line_after_whole_phases(tmp_path, language_path, monkeypatch):
    phases = []
    sample = LocalEngine.sample

    def broken(self, requests, **how):
        phases.append(len(requests))
        if len(phases) == 3:
            wrong = iter([("model.unknown", torch.zeros(1))])
            with pytest.raises(ValueError, match="no module or parameter named"):
                self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": wrong})
        return sample(self, requests, **how)

    monkeypatch.setattr(LocalEngine, "sample", broken)
    outcome = fit(tmp_path, language_path, *IN_PROCESS, *CORRECTED)
    assert outcome.error.startswith("vLLM failed to sample: NotImplementedError")
    assert "fit was broken off after 2 phases (RolloutError)" in outcome.out


# -- a server ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def start_server(untied_path, tmp_path_factory):
    """Start a server as docs/vllm.md says, and return its address and process."""
    started = []

    def start(port=None):
        port, log = port or free_port(), tmp_path_factory.mktemp("server") / "log"
        settings = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(untied_path)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "256", "--enforce-eager"]
        command += ["--dtype", "float32", "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"]
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | settings | {"VLLM_NO_USAGE_STATS": "1"},
                start_new_session=True,
            )
        started.append(process)
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 400
        while not healthy(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        return url, process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def healthy(url) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
    except OSError:
        return False


def test_server(tmp_path, untied_path, questions, start_server):
    """Everything of one server and of its restart: each start takes half a minute."""
    url, process = start_server()
    policy = Policy(path=str(untied_path), max_prompt_tokens=128).load_model(reference=False)
    engine = VLLMServer(weights_folder=str(tmp_path / "weights"), url=url, dtype="float32", timeout_s=120)

    rollouts = draw(engine, policy, questions)
    assert largest_gap(policy, rollouts) < 1e-4
    assert not {token for ids in tokens(rollouts) for token in ids} & set(policy.renderer.banned_ids)
    assert tokens(draw(engine, policy, questions[2:3])) == tokens(rollouts)[8:12]  # its own seed, in any company
    before = tokens(draw(engine, policy, questions, GREEDY, 2))
    assert before[0] == before[1]

    disturb(policy)
    after = tokens(draw(engine, policy, questions, GREEDY, 1))
    assert after != before[::2]
    assert after == tokens(draw(TransformersEngine(), policy, questions, GREEDY, 1))
    assert largest_gap(policy, draw(engine, policy, questions)) < 1e-4

    (tmp_path / "run").mkdir()
    of_server = ["--config", "configs/rollout/vllm_server.yaml", "--model.rollout.dtype=float32"]
    of_server += [f"--model.rollout.url={url}", f"--model.rollout.weights_folder={tmp_path / 'weights'}"]
    outcome = fit(tmp_path / "run", untied_path, *of_server, *CORRECTED)
    assert outcome.code == 0, outcome.err
    assert_engine_and_policy_agree(tmp_path / "run")

    outcome = fit(tmp_path / "run", untied_path, *of_server, "--model.policy.max_prompt_tokens=512")
    assert f"the vLLM server at {url} takes 256 tokens" in outcome.error

    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    state = {name: weight.clone() for name, weight in policy.state_dict().items()}
    with pytest.raises(RolloutError, match=rf"^the vLLM server at {url} does not answer /\S+: [^\n]+$"):
        draw(engine, policy, questions)
    assert all(weight.equal(state[name]) for name, weight in policy.state_dict().items())
    outcome = fit(tmp_path / "run", untied_path, *of_server)
    assert "does not answer /v1/models" in outcome.error
    assert "docs/vllm.md" in outcome.error

    start_server(port=url.rpartition(":")[2])  # with the weights that are on its disk
    assert tokens(draw(engine, policy, questions, GREEDY, 1)) == after
