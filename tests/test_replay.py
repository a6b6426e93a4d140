"""A fault that a run left behind, run again from the command line."""

import pytest
import torch

from mapo.__main__ import main
from mapo.modules.experience import Experience
from mapo.modules.numeric_faults import Fault
from mapo.policies.policy import Policy
from mapo.replay import replay
from mapo.types import EncodedPrompt, Prompt


@pytest.fixture
def actor(tiny_lm_path):
    return Policy(path=str(tiny_lm_path)).load_model(reference=False)


@pytest.fixture
def fault(actor):
    def encoded(sample_id):
        ids = actor.renderer.encode_completion("1+1=", end=False)
        return EncodedPrompt(Prompt(sample_id, (), (), "", {}), ids, {}, "")

    token_ids = tuple(actor.renderer.encode_completion(text) for text in ("2", "3", "4"))
    rows = Experience(
        prompts=(encoded("first"),) * 2 + (encoded("second"),),
        token_ids=token_ids,
        advantages=torch.tensor([1.0, -1.0, float("nan")]),
        trained=torch.ones(3, dtype=torch.bool),
        success_bins=torch.zeros(3, dtype=torch.long),
        sampling_logprobs=tuple(torch.zeros(len(ids)) for ids in token_ids),
    )
    return Fault(phase=3, step=4, rank=0, temperature=1.0, rows=rows, suspects=(2,))


def test_rows_come_back_as_they_were_written(fault, tmp_path):
    read = Fault.read(fault.write(tmp_path))
    assert read.sample_ids == ["second"]
    assert read.rows.prompts[0] is read.rows.prompts[1]
    assert all(map(torch.equal, read.rows.token_ids, fault.rows.token_ids))
    assert torch.equal(read.rows.advantages[:2], fault.rows.advantages[:2])


def test_a_row_whose_advantage_is_not_finite_is_told_from_sound_ones(actor, fault):
    sound, also, bad = replay(actor, fault)
    assert (sound.culprit, bad.culprit) == (None, None)
    assert sound.gradient_norm > 0
    assert also.sample_id == "first"
    assert bad.advantage != bad.advantage
    assert bad.gradient_norm != bad.gradient_norm


def test_the_module_in_which_it_begins_is_named(actor, fault):
    with torch.no_grad():
        actor.model.model.layers[1].mlp.down_proj.weight.fill_(float("inf"))
    assert replay(actor, fault)[0].culprit == "model.layers.1.mlp.down_proj"


def test_the_command_reads_a_checkpoint_and_says_how_many_rows_are_bad(actor, fault, tiny_lm_path, tmp_path, capsys):
    checkpoint = {
        "state_dict": {f"actor.{name}": weight for name, weight in actor.state_dict().items()},
        "hyper_parameters": {"policy": {"path": str(tiny_lm_path)}},
        "loops": {"fit_loop": {"epoch_loop.batch_progress": {"total": {"processed": 3}}}},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    main(["replay", str(fault.write(tmp_path)), "--ckpt_path", str(tmp_path / "last.ckpt")])
    printed = capsys.readouterr().out
    assert "1 of 3 completions of phase 3 (rank 0) give numbers that are not finite." in printed
    assert "second" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pt", "--ckpt_path", "last.ckpt"], "nowhere.pt"),
        (["nowhere.pt"], "the following arguments are required: --ckpt_path"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["replay", *arguments])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("mapo: error: ")
    assert words in line
    assert line.count("\n") == 1
