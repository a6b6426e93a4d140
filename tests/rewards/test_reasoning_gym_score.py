import copy
import pickle
import sys

import pytest
import torch
from fake_reasoning_gym import fake_library

from mapo.rewards.reasoning_gym_score import ReasoningGymScore
from mapo.types import Completion, Prompt

__all__ = ["fake_library"]

ENTRY = {"question": "What follows 4?", "answer": "5", "metadata": {"pair": (4, 1)}}
TASKS = [
    "arc_agi",  # its verifier compares tuples
    "basic_arithmetic",
    "chain_sum",
    "countdown",
    "knights_knaves",
    "leg_counting",
    "n_queens",
    "polynomial_multiplication",
    "prime_factorization",
    "simple_equations",
    "simple_integration",
    "spell_backward",
]


def completion(text, *, task="successor", entry=ENTRY, config=None, boxed=True):
    prompt = Prompt("row", (), (), "5", {"task": task, "entry": entry, "config": config or {}})
    text = f"<think>Well.</think> \\boxed{{{text}}}" if boxed else text
    return Completion(prompt, "", text, torch.zeros(1, dtype=torch.long), False)


@pytest.fixture
def score(fake_library):
    reward = ReasoningGymScore(timeout=20)
    yield lambda *texts, **settings: reward([completion(text, **settings) for text in texts])
    reward.close()


def test_the_score_is_the_verifiers(score):
    assert score("5", "6", "50", "\\text{5}", " 5 ") == [1.0, 0.25, 0.0, 1.0, 1.0]
    assert score("right", "5", task="anything", entry=ENTRY | {"answer": None}) == [1.0, 0.0]


def test_the_config_of_the_row_reaches_the_verifier(score):
    assert score("6", config={"largest": 10**9 - 1}) == [0.0]


def test_without_a_closed_box_nothing_is_right(score):
    assert score("5", "\\boxed{5} \\boxed{5", "\\boxed{}", boxed=False) == [0.0, 0.0, 0.0]


def test_partial_credit_can_be_left_out(fake_library):
    reward = ReasoningGymScore(partial_credit=False)
    assert reward([completion("5"), completion("6")]) == [1.0, 0.0]
    reward.close()


def test_an_answer_that_the_verifier_trips_over_is_wrong_and_a_broken_entry_has_no_verdict(score):
    assert score("five") == [0.0]
    assert score("5", entry=ENTRY | {"answer": "?"}) == [None]


def test_a_verifier_that_hangs_or_dies_has_no_verdict_and_the_next_answers_are_judged(fake_library):
    reward = ReasoningGymScore(timeout=2)
    assert reward([completion(text) for text in ("5", "sleep", "exit", "much", "5")]) == [1.0, None, None, 0.0, 1.0]
    reward.close()
    assert reward([completion("5")]) == [1.0]  # closing ends the process, not the component
    reward.close()


def test_answers_are_not_run_as_programs(score, tmp_path):
    file = tmp_path / "written"
    write = f"open('{file}', 'w')"
    assert score("[1, 2]", " [1,2] ", write, "[1, 2][:]", task="evaluated") == [1.0, 1.0, 0.0, 0.0]
    assert score("sqrt(4)", "Integer(2)", "x*2/x", "1 + 1", task="algebra") == [1.0, 1.0, 1.0, 1.0]
    assert score(f"{write} and 2", "().__class__ and 2", "lambdify(x, 2)(1)", task="algebra") == [0.0, 0.0, 0.0]
    assert not file.exists()


def test_long_answers_are_wrong_unless_the_right_one_is_long(score):
    assert score("0" * 999 + "5", "0" * 1000 + "5") == [1.0, 0.0]
    long = ENTRY | {"answer": "5" * 800, "metadata": {"pair": (0, 0)}}
    assert score("5" * 800, "5" * 1601, entry=long) == [1.0, 0.0]


def test_a_copy_has_a_process_of_its_own(fake_library):
    reward = ReasoningGymScore()
    assert reward([completion("5")]) == [1.0]
    for other in (pickle.loads(pickle.dumps(reward)), copy.deepcopy(reward)):
        assert other([completion("6")]) == [0.25]
        other.close()
    assert reward([completion("5")]) == [1.0]
    reward.close()


def test_the_answer_is_what_the_box_holds():
    reward = ReasoningGymScore()
    assert reward.answer(completion("\\text{five} ")) == "five"
    assert reward.answer(completion("five", boxed=False)) is None


def test_rows_of_other_data_are_refused():
    prompt = Prompt("row-7", (), (), "5", {})
    other = Completion(prompt, "", "\\boxed{5}", torch.zeros(1, dtype=torch.long), False)
    with pytest.raises(ValueError, match=r"sample 'row-7' has no 'task' and 'entry'.* with mapo.data.reasoning_gym"):
        ReasoningGymScore()([other])


@pytest.mark.parametrize(("setting", "value"), [("timeout", 0.0), ("memory_mb", 512)])
def test_settings_out_of_range(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be"):
        ReasoningGymScore(**{setting: value})


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"needs reasoning-gym: pip install 'mapo\[reasoning-gym\]'"):
        ReasoningGymScore()([completion("5")])


@pytest.mark.slow
def test_the_librarys_own_answers_are_right():
    library = pytest.importorskip("reasoning_gym")
    datasets = {task: library.create_dataset(task, seed=3, size=2) for task in TASKS}
    entries = [(task, dataset[i]) for task, dataset in datasets.items() for i in range(2)]
    reward = ReasoningGymScore(timeout=60)  # tasks are imported within it
    right = reward([completion(entry["answer"], task=task, entry=entry) for task, entry in entries])
    wrong = reward([completion("no such thing", task=task, entry=entry) for task, entry in entries])
    reward.close()
    assert right == [1.0] * len(entries)
    assert max(wrong) < 0.1
