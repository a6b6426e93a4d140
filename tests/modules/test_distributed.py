"""Two ranks do exactly what one process does: completions, advantages, figures, weights, checkpoints."""

import re
from pathlib import Path

import pytest
import ranks
import torch
from torch.distributed.checkpoint import FileSystemReader

from mapo.modules.mapo import MAPOModule

pytestmark = pytest.mark.slow

TWICE = {"updates_per_phase": 2}
RUNS = {
    "text": ("text", {}),
    "text in two updates": ("text", TWICE),
    "pictures in two updates": ("pictures", TWICE),
    "pictures in every row": ("pictures", TWICE | {"share_prefix": False}),
    "adapters": ("adapters", TWICE),
    "silent": ("silent", TWICE),
    "silent, none skipped": ("silent", TWICE | {"skip": False}),
    "spotty": ("spotty", {}),
    "in waves": ("in_waves", TWICE),
    "mixed": ("mixed", {}),
    "half": ("resumed", {"max_steps": 4}),
}
# With every rank holding a part of the weights: a reference, adapters, ranks without a signal, ranks without a picture.
SHARDED = {"text in two updates": "fsdp2, offloaded", "adapters": "fsdp2", "silent": "fsdp2", "mixed": "fsdp2"}
HALF = {"precision": "bf16-mixed", "frozen_dtype": "bfloat16"}
# Sums over other groups of rows round differently; nothing else may differ.
WEIGHTS = {"rtol": 0.0, "atol": 1e-6}
FIGURES = {"rel": 1e-4, "abs": 1e-6}
# The clock's, rounding itself, and how the rows are laid out.
LOCAL = {"train/tokens_per_s", "train/sampling_gap", "train/trained_groups/sampling_gap", "train/micro_batches"}


@pytest.fixture(scope="module")
def both(tmp_path_factory, tiny_lm_path):
    """What one process saw, and what each of two ranks saw, by run; the two processes are started once."""

    def run(function, strategy="auto", **settings):
        return function, {"path": str(tiny_lm_path), **settings}, strategy

    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    runs = {name: (function, settings) for name, (function, settings) in RUNS.items()} | {"figures": ("figures", {})}
    more = {
        "whole": run("resumed"),
        "half of adapters": run("adapters", max_steps=4, **TWICE),
    }
    single = ranks.run(alone, {name: run(function, **settings) for name, (function, settings) in runs.items()} | more)
    per_rank = ranks.launch(
        together,
        {name: run(function, "ddp", **settings) for name, (function, settings) in runs.items()}
        | {
            "continued on two": run("resumed", "ddp", ckpt_path=single["half"]["last"]),
            "stopped": run("stopped", "ddp"),
            "stopped while sampling": run("stopped", "ddp", while_sampling=True),
            "failing": run("failing", "ddp"),
        },
    )
    on_one = run("resumed", ckpt_path=per_rank[0]["half"]["last"])
    after_stop = run("resumed", ckpt_path=str(together / "stopped" / "stopped.ckpt"))
    single |= ranks.run(alone, {"continued on one": on_one, "continued after a stop": after_stop})
    return single, per_rank


@pytest.fixture(scope="module")
def sharded(both, tmp_path_factory, tiny_lm_path):
    """What each of two ranks saw that hold a part of the weights each, and what went on from their checkpoints."""

    def run(function, strategy="fsdp2", **settings):
        return function, {"path": str(tiny_lm_path), **settings}, strategy

    single, folder = both[0], tmp_path_factory.mktemp("sharded")
    per_rank = ranks.launch(
        folder,
        {name: run(RUNS[name][0], strategy, **RUNS[name][1]) for name, strategy in SHARDED.items()}
        | {
            "figures": run("figures"),
            "half": run("resumed", "fsdp2, one file", max_steps=4),
            "half in parts": run("resumed", max_steps=4),
            "half of adapters": run("adapters", max_steps=4, **TWICE),
            "continued": run("resumed", ckpt_path=single["half"]["last"]),
            "continued adapters": run("adapters", ckpt_path=single["half of adapters"]["last"], **TWICE),
            "half precision": run("adapters", max_steps=4, **TWICE, **HALF),
            "stopped while sampling": run("stopped", while_sampling=True),
            "failing": run("failing"),
        },
    )
    parts = per_rank[0]["half of adapters"]["last"]
    continued = ranks.run(
        folder / "alone",
        {
            "continued": run("resumed", "auto", ckpt_path=per_rank[0]["half"]["last"]),
            "continued parts": run("resumed", "fsdp2, Lightning's own", ckpt_path=per_rank[0]["half in parts"]["last"]),
            "continued adapters": run("adapters", "fsdp2, Lightning's own", ckpt_path=parts, **TWICE),
        },
    )
    torch.distributed.destroy_process_group()  # of the one rank
    return per_rank, continued


def assert_same_figures(mine, theirs):
    assert len(mine) == len(theirs)
    for here, there in zip(mine, theirs, strict=True):
        assert {k: v for k, v in here.items() if k not in LOCAL} == pytest.approx(
            {k: v for k, v in there.items() if k not in LOCAL}, **FIGURES
        )


@pytest.mark.parametrize("run", RUNS)
def test_two_ranks_do_what_one_process_does(both, run):
    assert_same_run(both[0][run], *(rank[run] for rank in both[1]))


@pytest.mark.parametrize("run", SHARDED)
def test_two_ranks_with_half_of_the_weights_each_do_so_too(both, sharded, run):
    assert_same_run(both[0][run], *(rank[run] for rank in sharded[0]))


def assert_same_run(single, first, second):
    assert not first["groups"].keys() & second["groups"].keys()
    together = first["groups"] | second["groups"]
    assert together.keys() == single["groups"].keys()
    for place, (token_ids, advantages) in single["groups"].items():
        assert together[place][0] == token_ids
        assert together[place][1] == pytest.approx(advantages, abs=1e-6)
    for rank in (first, second):
        assert_same_figures(single["logs"], rank["logs"])
        assert single["validations"] == rank["validations"]
        assert (rank["steps"], rank["best"]) == (single["steps"], single["best"])
        torch.testing.assert_close(rank["weights"], single["weights"], **WEIGHTS)
    assert torch.equal(first["weights"], second["weights"])


@pytest.mark.parametrize("run", RUNS)
def test_the_runs_train_and_validate_odd_sets(both, run):
    """What keeps the comparison from being one of nothing with nothing."""
    alone = both[0][run]
    norms = [log.get("train/gradient_norm", 0.0) for log in alone["logs"]]
    assert sum(norm > 0.1 for norm in norms) >= len(norms) // 2
    samples = {figures[name] for figures in alone["validations"] for name in figures if "num_samples" in name}
    assert any(number % 2 for number in samples)


def test_a_shared_prompt_trains_as_its_copies_do(both):
    for run in (both[0], *both[1]):
        shared, copied = run["pictures in two updates"], run["pictures in every row"]
        assert shared["groups"].keys() == copied["groups"].keys()
        torch.testing.assert_close(shared["weights"], copied["weights"], **WEIGHTS)


def test_skipped_groups_change_nothing_whoever_has_them(both):
    for run in (both[0], *both[1]):
        skipped, whole = run["silent"], run["silent, none skipped"]
        shares = [[log["train/skipped_group_share"] for log in found["logs"]] for found in (skipped, whole)]
        assert shares[0][:3] == [0.5, 1.0, 0.5]
        assert set(shares[1]) == {0.0}
        torch.testing.assert_close(skipped["weights"], whole["weights"], **WEIGHTS)
        norms = [[log["train/gradient_norm"] for log in found["logs"]] for found in (skipped, whole)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-5, abs=1e-7)
        assert norms[0][1] == 0
        # Only a rank that has nothing runs more than it would alone.
        batches = [sum(log["train/micro_batches"] for log in found["logs"]) for found in (skipped, whole)]
        assert batches[0] < batches[1]


def test_waves_end_when_enough_is_found_or_nothing_is_left(both):
    found = [(log["train/sampled_waves"], log["train/found_group_share"]) for log in both[0]["in waves"]["logs"]]
    assert found == [(3, 1), (3, 1), (3, 0.5), (2, 1)]


def test_a_phase_without_anything_to_train_on_still_counts(both):
    single, per_rank = both
    for spotty in (single["spotty"], *(rank["spotty"] for rank in per_rank)):
        assert spotty["steps"] == 6
        assert spotty["logs"][2]["train/valid_share"] == 0


@pytest.mark.parametrize(
    ("run", "whole", "first"),
    [("continued", "whole", 4), ("continued parts", "whole", 4), ("continued adapters", "adapters", 2)],
)
def test_checkpoints_of_parts_and_of_whole_weights_go_on_as_the_other(both, sharded, run, whole, first):
    """One process goes on from the single file of two ranks, one rank from their folder, and two from one's file."""
    per_rank, alone = sharded
    expected = both[0][whole]
    for resumed in (seen[run] for seen in (*per_rank, alone) if run in seen):
        assert_same_figures(expected["logs"][first:], resumed["logs"])
        assert resumed["validations"] == expected["validations"][first // 2 :]
        torch.testing.assert_close(resumed["weights"], expected["weights"], **WEIGHTS)


def test_bfloat16_around_float32_adapters_samples_and_scores_alike(sharded):
    for run in (rank["half precision"] for rank in sharded[0]):
        assert run["steps"] == 4
        assert all(0 < log["train/sampling_gap"] < 0.05 for log in run["logs"])
        assert all(log["train/gradient_norm"] > 0.1 for log in run["logs"])
    assert torch.equal(*(rank["half precision"]["weights"] for rank in sharded[0]))


def test_checkpoints_of_adapters_hold_nothing_else(both, sharded):
    folder = Path(sharded[0][0]["half of adapters"]["last"])
    kept = FileSystemReader(folder).read_metadata().state_dict_metadata
    in_parts = {name.removeprefix("state_dict.") for name in kept if name.startswith("state_dict.")}
    in_one_file = torch.load(both[0]["half of adapters"]["last"], weights_only=True)["state_dict"]
    assert in_parts == set(in_one_file)
    assert all("lora_" in name for name in in_parts)
    module = MAPOModule.load_from_checkpoint(folder)
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, in_one_file[name], **WEIGHTS)


@pytest.mark.parametrize(("where", "run"), [(0, "continued on one"), (1, "continued on two")])
def test_a_checkpoint_goes_on_with_another_number_of_ranks(both, where, run):
    single, per_rank = both
    whole = single["whole"]
    for resumed in [single[run]] if where == 0 else [rank[run] for rank in per_rank]:
        expected = {place: group for place, group in whole["groups"].items() if place[0] >= 4}
        assert resumed["groups"].items() <= expected.items() if where else resumed["groups"] == expected
        assert_same_figures(whole["logs"][4:], resumed["logs"])
        assert resumed["validations"] == whole["validations"][2:]
        torch.testing.assert_close(resumed["weights"], whole["weights"], **WEIGHTS)


def test_ranks_leave_together_when_one_is_told_to_end(both):
    single, per_rank = both
    for stopped in (rank["stopped"] for rank in per_rank):
        assert (stopped["steps"], len(stopped["logs"])) == (1, 1)
    resumed = single["continued after a stop"]
    assert resumed["groups"] == {place: group for place, group in single["whole"]["groups"].items() if place[0] >= 1}
    torch.testing.assert_close(resumed["weights"], single["whole"]["weights"], **WEIGHTS)


def test_a_rank_that_is_told_to_end_gives_its_rollout_up_and_the_others_leave_with_it(both, sharded):
    for per_rank in (both[1], sharded[0]):
        stopped = [rank["stopped while sampling"] for rank in per_rank]
        assert [(seen["steps"], len(seen["logs"]), seen["given up"]) for seen in stopped] == [
            (1, 1, False),
            (1, 1, True),
        ]


def test_a_rank_that_fails_ends_the_others_with_its_reason(both, sharded):
    for other, failed in (both[1], sharded[0]):
        assert failed["failing"] == "ValueError: no reward today"
        assert re.match(
            r"RankFailureError: rank 0 stops, because rank 1 \(.+\) failed: ValueError: no reward today",
            other["failing"],
        )


def test_figures_are_those_of_one_process_to_the_last_bit(both, sharded):
    for rank in (*both[1], *sharded[0]):
        assert rank["figures"] == both[0]["figures"]


def test_the_figures_that_are_compared_are_worth_it(both):
    """Odd sets, categories that one rank never sees, a set without rows on a rank, a bad row, votes, own figures."""
    found = both[0]["figures"]
    expected = {
        "val/near/num_samples_evaluated": 9,
        "val/near/num_samples/place/odd": 4,
        "val/near/num_samples/place/any": 5,
        "val/far/num_samples_evaluated": 5,
        "val/far/num_bad_rows_greedy": 1,
        "val/lonely/num_samples_evaluated": 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert {
        "val/near/maj@3",
        "val/near/pass@2",
        "val/lonely/maj@2",
        "val/near/weighted_greedy",
        "val/A",
    } <= found.keys()
    assert "val/A_greedy" not in found
    for name in ("accuracy", "accuracy_low", "maj@3", "early", "failed_verdict_share", "accuracy/place/odd"):
        assert 0 < found[f"val/near/{name}"] < 1, name


def test_nobody_is_told_to_mend_what_is_right(both):
    # The last is said to peft, which asks transformers under the old name.
    expected = ("LeafSpec", "no completion could be scored", "group_size = 4", "`is_gradient_checkpointing`")
    said = {message for rank in both[1] for name in RUNS for message in rank[name]["warnings"]}
    assert not {message for message in said if not any(part in message for part in expected)}
