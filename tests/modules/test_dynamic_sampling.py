"""Dynamic sampling: which groups are taken, how long it looks, and how it ends where there is nothing to find."""

from dataclasses import dataclass, replace

import pytest
import torch
from arithmetic import EvenLength, Sums, make_module
from lightning.pytorch import Callback, Trainer

from mapo.advantages.gpg import Amplified
from mapo.losses.aggregation import TokenMean
from mapo.modules.dynamic_sampling import (
    SOLVED,
    TELLING,
    UNSCORED,
    UNSOLVED,
    DynamicSampling,
    outcomes,
    places,
)
from mapo.types import Prompt, Rollouts, Scores


def scores(accuracy, valid=None, rewards=None) -> Scores:
    accuracy = torch.tensor(accuracy)
    valid = torch.ones_like(accuracy, dtype=torch.bool) if valid is None else torch.tensor(valid)
    rewards = accuracy if rewards is None else torch.tensor(rewards)
    return Scores(rewards, accuracy == 1, accuracy, valid, {})


# -- what is told apart ------------------------------------------------------------------------------------------------


def test_outcomes_by_hand():
    accuracy = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    valid = [[True, True]] * 4 + [[False, False], [True, False], [False, True]]
    expected = [TELLING, SOLVED, UNSOLVED, UNSOLVED, UNSCORED, SOLVED, UNSOLVED]
    assert outcomes(scores(accuracy, valid)).tolist() == expected


def test_a_group_is_judged_by_its_accuracy_and_not_by_its_reward():
    # Formatted or not, all four are wrong; equally rewarded, one of them is right.
    assert outcomes(scores([[0.0, 0.0]], rewards=[[0.1, 0.0]])).tolist() == [UNSOLVED]
    assert outcomes(scores([[1.0, 0.0]], rewards=[[0.5, 0.5]])).tolist() == [TELLING]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_same_groups_get_the_same_places_on_any_number_of_ranks(world_size):
    told = torch.randint(4, (24,), generator=torch.Generator().manual_seed(0))
    whole = places(told[:, None], wanted=3)[:, 0]
    assert [int(told[i]) for i in range(24) if whole[i] >= 0] == [TELLING] * 3
    assert whole[whole >= 0].tolist() == [0, 1, 2]
    ours = places(told.view(-1, world_size), wanted=3)  # rank r holds prompts r, r + W, ...
    for rank in range(world_size):
        assert torch.equal(ours[:, rank], whole[rank::world_size])


def test_a_batch_that_holds_no_whole_waves_is_refused():
    prompts = [Prompt(str(i), (), (), "", {}) for i in range(8)]
    assert [len(wave) for wave in DynamicSampling(max_refills=1).waves(prompts)] == [4, 4]
    with pytest.raises(ValueError, match="a batch of 8 prompts does not hold 1 \\+ max_refills = 3 waves"):
        DynamicSampling(max_refills=2).waves(prompts)
    with pytest.raises(ValueError, match="max_refills must be >= 0, got -1"):
        DynamicSampling(max_refills=-1)


# -- a fit -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known(EvenLength):
    """Some prompts are solved by every completion, some by none, the others by those whose first token is even."""

    solved: tuple[int, ...] = ()
    unsolved: tuple[int, ...] = ()

    def __call__(self, completions):
        values = super().__call__(completions)
        numbers = [int(completion.prompt.sample_id.removeprefix("sum-")) for completion in completions]
        fixed = {**dict.fromkeys(self.solved, 1.0), **dict.fromkeys(self.unsolved, 0.0)}
        return [fixed.get(number, value) for number, value in zip(numbers, values, strict=True)]


class Seen(Callback):
    def __init__(self) -> None:
        self.logs, self.records, self.batches = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.logs.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.records.append(module.last_phase)
        self.batches.append([prompt.sample_id for prompt in batch])


class Ordered(Sums):
    """The rows in their own order."""

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.shuffle = False
        return loader


def fit(folder, path, reward, *, num=24, max_refills=2, epochs=1, **settings):
    seen = Seen()
    sampling = DynamicSampling(max_refills=max_refills)
    module = make_module(path, rewards=[reward], dynamic_sampling=sampling, group_size=6, **settings)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        callbacks=[seen],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=Ordered(num=num, batch_size=4))
    return module, seen


def used(record) -> list[str]:
    return [p.prompt.sample_id for p, step in zip(record.rollouts.prompts, record.steps, strict=True) if step >= 0]


def test_waves_are_sampled_until_every_group_tells(tmp_path, tiny_lm_path):
    # 24 rows are two phases of three waves of four. The first phase finds its fourth group in the second wave.
    reward = Known(solved=(0, 3), unsolved=(1,))
    _, seen = fit(tmp_path, tiny_lm_path, reward)
    first, second = seen.records
    assert [len(batch) for batch in seen.batches] == [12, 12]
    assert len(first.rollouts.prompts) == 8
    assert used(first) == ["sum-2", "sum-4", "sum-5", "sum-6"]
    assert used(second) == ["sum-12", "sum-13", "sum-14", "sum-15"]
    left_out = first.steps < 0
    assert not first.advantages[left_out].any()
    assert first.advantages[~left_out].any(dim=1).all()
    names = ("sampled_waves", "found_group_share", "unused_prompt_share")
    shares = [[log[f"train/{name}"] for name in names] for log in seen.logs]
    assert shares == [[2.0, 1.0, pytest.approx(1 / 3)], [1.0, 1.0, pytest.approx(2 / 3)]]
    assert seen.logs[0]["train/completion_length"] == pytest.approx(4, abs=1)  # of all that was sampled


def test_it_trains_as_a_plain_phase_of_the_groups_that_it_found(tmp_path, tiny_lm_path):
    """The step is that on the four groups alone: what was sampled beside them weighs nothing."""
    reward = Known(solved=(0, 3), unsolved=(1,))
    module, seen = fit(tmp_path, tiny_lm_path, reward, num=12, advantage=Amplified(), kl_coef=0.1)
    record = seen.records[0]
    keep = (record.steps >= 0).nonzero()[:, 0].tolist()

    class Replay(Callback):
        def on_fit_start(self, trainer, plain):
            plain.generate = lambda *_, **__: Rollouts(
                tuple(record.rollouts.prompts[i] for i in keep),
                tuple(record.rollouts.completions[i] for i in keep),
                tuple(record.rollouts.sampling_logprobs[i] for i in keep),
                record.rollouts.temperature,
            )

    plain = make_module(tiny_lm_path, rewards=[reward], group_size=6, advantage=Amplified(), kl_coef=0.1)
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=1, limit_val_batches=0, logger=False,
        callbacks=[Replay()], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(plain, datamodule=Ordered(num=12, batch_size=4))
    assert torch.equal(plain.last_phase.advantages, record.advantages[keep])
    ours, theirs = (
        torch.cat([weight.detach().flatten() for weight in m.actor.trainable_parameters()]) for m in (module, plain)
    )
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-6)


def test_too_few_groups_are_trained_on_as_they_are(tmp_path, tiny_lm_path):
    reward = Known(solved=tuple(range(0, 10)))
    module, seen = fit(tmp_path, tiny_lm_path, reward, num=12, updates_per_phase=2)
    (record,), (log,) = seen.records, seen.logs
    assert used(record) == ["sum-10", "sum-11"]
    assert record.steps[10:].tolist() == [0, 0]  # the second optimizer step of the phase has nothing to train on
    assert (log["train/sampled_waves"], log["train/found_group_share"], log["train/unused_prompt_share"]) == (3, 0.5, 0)
    assert module.trainer.global_step == 2


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (Known(solved=tuple(range(24))), "12 are solved by all of theirs, 0 by none, 0 could not be scored"),
        (Known(unsolved=tuple(range(24))), "0 are solved by all of theirs, 12 by none, 0 could not be scored"),
    ],
    ids=["all solved", "none solved"],
)
def test_where_there_is_nothing_to_find_the_fit_ends_and_says_why(tmp_path, tiny_lm_path, reward, words):
    start = make_module(tiny_lm_path)
    start.configure_model()
    with pytest.warns(UserWarning, match=f"phase 0: dynamic sampling ran dry. Of 12 prompts in 3 waves .*{words}"):
        module, seen = fit(tmp_path, tiny_lm_path, reward, epochs=5)
    assert len(seen.records) == 1  # of ten
    assert module.trainer.state.finished
    for ours, theirs in zip(module.actor.trainable_parameters(), start.actor.trainable_parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_rows_that_do_not_fill_the_waves_are_refused_by_the_arguments_to_change(tmp_path, tiny_lm_path):
    with pytest.raises(ValueError, match=r"10 training rows do not fill 3 waves of batch_size=4 .*max_refills"):
        fit(tmp_path, tiny_lm_path, Known(), num=10)


def test_truncated_completions_count_in_their_group_and_not_in_the_loss(tmp_path, tiny_lm_path):
    class Cut(Callback):
        """The first completion of every group is declared truncated."""

        def on_fit_start(self, trainer, module):
            generate = module.generate

            def cut(*args, **kwargs):
                rollouts = generate(*args, **kwargs)
                groups = tuple((replace(group[0], truncated=True), *group[1:]) for group in rollouts.completions)
                rest = tuple(tuple(replace(c, truncated=False) for c in group[1:]) for group in groups)
                return replace(rollouts, completions=tuple((g[0], *r) for g, r in zip(groups, rest, strict=True)))

            module.generate = cut

    normalisers = {}
    for masked in (False, True):
        module = make_module(
            tiny_lm_path, mask_truncated=masked, aggregation=Spy(seen=normalisers.setdefault(masked, []))
        )
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=1, limit_val_batches=0, logger=False,
            callbacks=[Cut()], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, datamodule=Ordered(num=4, batch_size=4))
        record = module.last_phase
        assert record.advantages[:, 0].any()  # it is judged against its group, and the group against it
        assert record.trained[:, 0].tolist() == [not masked] * 4
        assert record.trained[:, 1:].all()
    assert normalisers[True][0] == pytest.approx(normalisers[False][0] - 4 * 4)  # four completions of four tokens


@dataclass(frozen=True)
class Spy(TokenMean):
    """Keeps the normalisers that it returned."""

    seen: list

    def normaliser(self, completion_mask):
        value = super().normaliser(completion_mask)
        self.seen.append(float(value))
        return value
