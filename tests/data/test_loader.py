import pytest
from PIL import Image

from mapo.data.loader import EvaluationLoader, PhaseLoader, fingerprint
from mapo.types import Prompt


def rows(num):
    return [Prompt(str(i), ({"role": "user", "content": f"{i} + 1?"},), (), str(i + 1), {}) for i in range(num)]


def ids(batches):
    return [[prompt.sample_id for prompt in batch] for batch in batches]


def test_a_phase_is_the_same_prompts_on_any_number_of_ranks():
    alone = ids(PhaseLoader(rows(26), batch_size=8, seed=3))
    for world_size in (2, 4, 8):
        shares = [
            ids(PhaseLoader(rows(26), batch_size=8, seed=3, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        for step, phase in enumerate(alone):
            assert [share[step] for share in shares] == [phase[rank::world_size] for rank in range(world_size)]


def test_the_order_depends_on_seed_and_epoch_alone():
    loader = PhaseLoader(rows(20), batch_size=4, seed=1)
    first, second = ids(loader), ids(loader)
    assert first != second
    again = PhaseLoader(rows(20), batch_size=4, seed=1)
    again.set_epoch(1)
    assert ids(again) == second
    assert ids(PhaseLoader(rows(20), batch_size=4, seed=2)) not in (first, second)


def test_the_incomplete_phase_sits_out_and_another_one_each_epoch():
    loader = PhaseLoader(rows(10), batch_size=4)
    epochs = [{i for phase in ids(loader) for i in phase} for _ in range(8)]
    assert len(loader) == 2
    assert all(len(epoch) == 8 for epoch in epochs)
    assert set.union(*epochs) == {str(i) for i in range(10)}


@pytest.mark.parametrize("position", [0, 1, 4, 5])
def test_a_restored_loader_continues_where_the_other_stood(position):
    loader = PhaseLoader(rows(20), batch_size=4)
    phases = iter(loader)
    for _ in range(position):
        next(phases)
    state = loader.state_dict()
    rest = ids(phases) + ids(loader)  # to the end of this epoch and through the next one
    restored = PhaseLoader(rows(20), batch_size=4)
    restored.load_state_dict(state)
    continued = ids(restored)
    while len(continued) < len(rest):
        continued += ids(restored)
    assert continued == rest


def test_more_ranks_continue_a_checkpoint():
    loader = PhaseLoader(rows(16), batch_size=4)
    phases = iter(loader)
    next(phases)
    state = loader.state_dict()
    shares = [PhaseLoader(rows(16), batch_size=4, rank=rank, world_size=2) for rank in range(2)]
    for share in shares:
        share.load_state_dict(state)
    assert sorted(ids(shares[0])[0] + ids(shares[1])[0]) == sorted(ids(phases)[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompts": rows(21)}, "rows is 21"),
        ({"prompts": [*rows(19), rows(20)[19]._replace(answer="0")]}, "fingerprint"),
        ({"batch_size": 5}, "batch_size is 5"),
        ({"seed": 1}, "seed is 1"),
        ({"shuffle": False}, "shuffle is False"),
    ],
)
def test_other_data_cannot_resume(change, named):
    arguments = {"prompts": rows(20), "batch_size": 4}
    state = PhaseLoader(**arguments).state_dict()
    with pytest.raises(ValueError, match=rf"cannot resume: .*\b{named}"):
        PhaseLoader(**(arguments | change)).load_state_dict(state)


def test_too_few_rows_and_an_indivisible_phase_are_refused():
    with pytest.raises(ValueError, match="3 training rows do not fill one phase of batch_size=4"):
        PhaseLoader(rows(3), batch_size=4)
    with pytest.raises(ValueError, match=r"batch_size \(6 .*ranks \(4\); choose 4"):
        PhaseLoader(rows(20), batch_size=6, world_size=4)


@pytest.mark.parametrize("num", [1, 5, 8, 9])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_reads_every_row_once_in_equally_many_steps(num, world_size):
    loaders = [EvaluationLoader(rows(num), batch_size=4, rank=r, world_size=world_size) for r in range(world_size)]
    seen = [ids(loader) for loader in loaders]
    assert sorted(i for rank in seen for batch in rank for i in batch) == sorted(str(i) for i in range(num))
    assert {len(rank) for rank in seen} == {len(loader) for loader in loaders} == {-(-num // 4)}


def test_the_fingerprint_knows_text_answer_and_picture_but_not_the_folder():
    row = rows(1)[0]
    base = row._replace(images=("a/x.png", {"bytes": b"1", "path": None}, Image.new("RGB", (2, 3))))
    assert fingerprint([base]) == fingerprint([base._replace(images=("b/x.png", *base.images[1:]))])
    others = [
        base._replace(sample_id="other"),
        base._replace(messages=({"role": "user", "content": "2 + 2?"},)),
        base._replace(images=("a/y.png", *base.images[1:])),
        base._replace(images=(base.images[0], {"bytes": b"2", "path": None}, base.images[2])),
        base._replace(images=(*base.images[:2], Image.new("RGB", (3, 2)))),
    ]
    assert len({fingerprint([prompt]) for prompt in [base, *others]}) == 6
