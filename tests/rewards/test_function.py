import asyncio
import copy
import pickle
import sys
import traceback

import numpy as np
import pytest
import torch
from command_line import invoke
from lightning.pytorch import Trainer

from mapo.modules.hyperparameters import describe
from mapo.modules.mapo import MAPOModule
from mapo.policies.policy import Policy
from mapo.rewards.function import FunctionReward
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.scoring import check_rewards, score_completions
from mapo.types import Completion, Prompt

FUNCTIONS = """
import asyncio
import numpy
import torch

SEEN = []
not_a_function = 3

def brevity(completions, truncated):
    SEEN.append((completions, truncated))
    return [1.0 / len(text) for text in completions]

def everything(**columns):
    SEEN.append(columns)
    return [None] * len(columns["completions"])

async def closeness(answer, completions):
    async def one(answer, completion):
        await asyncio.sleep(0)
        return float(answer in completion)
    return await asyncio.gather(*map(one, answer, completions))

def by_level(level, unit="none"):
    SEEN.append((level, unit))
    return [1] * len(level)

def wants_subject(completions, subject):
    return [1.0] * len(completions)

def breaks(completions):
    return [{}["nothing"]]

async def breaks_later(completions):
    raise TimeoutError("no judge")

def as_array(completions):
    return numpy.full(len(completions), 0.5)

def as_tensor(completions):
    return torch.full((len(completions),), 0.5)

def one_number(completions):
    return 1.0

def words(completions):
    return ["good"] * len(completions)

def too_few(completions):
    return [1.0]

def too_much(completions):
    return [2.0] * len(completions)

def positional(completions, /):
    return completions
"""


@pytest.fixture(autouse=True)
def _functions(tmp_path, monkeypatch):
    (tmp_path / "some_rewards.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("some_rewards", None)


def seen():
    return sys.modules["some_rewards"].SEEN


def completion(text, sample_id="row-1", answer="4", prefill="", truncated=False, **metadata):
    prompt = Prompt(sample_id, ({"role": "user", "content": "2+2?"},), (), answer, metadata)
    return Completion(prompt, prefill, text, torch.arange(len(text)), truncated)


def reward(name, **settings):
    return FunctionReward(f"some_rewards.{name}", **settings)


def test_it_gets_the_columns_that_its_signature_names():
    rows = [completion("12", prefill="<think>"), completion("123456789", prefill="<", truncated=True)]
    assert reward("brevity")(rows) == [1 / 9, 1 / 10]
    assert seen() == [(["<think>12", "<123456789"], [False, True])]


def test_with_keywords_it_gets_every_column_of_the_rows():
    rows = [completion("ab", level="hard", answer="7"), completion("c", sample_id="row-2", subject="angles")]
    assert reward("everything")(rows) == [None, None]
    assert seen() == [
        {
            "completions": ["ab", "c"],
            "completion_ids": [[0, 1], [0]],
            "truncated": [False, False],
            "prompts": [[{"role": "user", "content": "2+2?"}]] * 2,
            "sample_id": ["row-1", "row-2"],
            "answer": ["7", "4"],
            "level": ["hard", None],
            "subject": [None, "angles"],
        }
    ]


def test_an_asynchronous_function_is_awaited_also_inside_a_running_loop():
    rows = [completion("it is 4"), completion("it is 5")]
    assert reward("closeness")(rows) == [1.0, 0.0]

    async def notebook():
        return reward("closeness")(rows)

    assert asyncio.run(notebook()) == [1.0, 0.0]


def test_a_missing_column_is_named_unless_it_has_a_default():
    rows = [completion("a", level=3)]
    with pytest.raises(ValueError, match=r"'some_rewards.wants_subject' asks for the column 'subject'.* level, compl"):
        reward("wants_subject")(rows)
    assert reward("by_level")(rows) == [1.0]
    assert seen() == [([3], "none")]


@pytest.mark.parametrize(("name", "cause"), [("breaks", KeyError), ("breaks_later", TimeoutError)])
def test_what_a_function_raises_carries_its_name(name, cause):
    with pytest.raises(RuntimeError, match=rf"'some_rewards.{name}' raised {cause.__name__}: ") as raised:
        reward(name)([completion("a")])
    assert isinstance(raised.value.__cause__, cause)
    assert traceback.extract_tb(raised.value.__cause__.__traceback__)[-1].filename.endswith("some_rewards.py")


@pytest.mark.parametrize("name", ["as_array", "as_tensor"])
def test_arrays_and_tensors_become_floats(name):
    values = reward(name)([completion("a"), completion("b")])
    assert values == [0.5, 0.5]
    assert not any(isinstance(value, np.generic | torch.Tensor) for value in values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_number", "'some_rewards.one_number' must return one number per completion, got 1.0"),
        ("words", r"'some_rewards.words' must return numbers in \[0, 1\] or None, got 'good'"),
        ("too_few", "'too_few' returned 1 values for 2 completions"),
        ("too_much", r"'too_much' returned 2.0 for sample 'row-1': a value must lie in \[0, 1\]"),
    ],
)
def test_other_than_one_number_per_completion_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        score_completions([reward(name)], [[completion("a"), completion("b")]])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("brevity", r"must be an import path such as my_rewards.brevity, got 'brevity'"),
        ("no_such_module.brevity", "no_such_module cannot be imported .*finds files in the folder it is started in"),
        ("some_rewards.brevty", r"there is no function brevty in .*did you mean some_rewards.brevity\?"),
        ("some_rewards.not_a_function", "there is no function not_a_function"),
        ("some_rewards.positional", "takes 'completions' by position only"),
    ],
)
def test_a_wrong_path_is_refused_at_once(path, message):
    with pytest.raises(ValueError, match=message):
        FunctionReward(path)


def test_several_functions_stand_beside_other_rewards_under_their_own_names():
    rewards = [MathAnswer(), reward("by_level", weight=0.2), reward("as_array", weight=0.3)]
    check_rewards(rewards)
    assert [component.name for component in rewards] == ["math_answer", "by_level", "as_array"]
    with pytest.raises(ValueError, match=r"\['by_level'\] more than once"):
        check_rewards([*rewards, reward("by_level")])


def test_it_travels_as_plain_values():
    original = reward("closeness", weight=0.5)
    for other in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
        assert other == original
        assert other([completion("4")]) == [1.0]
    assert describe(original)["init_args"] == {
        "function": "some_rewards.closeness",
        "weight": 0.5,
        "required_for_success": False,
        "is_accuracy": False,
    }


def test_a_checkpoint_brings_it_back(tmp_path):
    rewards = [MathAnswer(), reward("brevity", weight=0.2)]
    trainer = Trainer(accelerator="cpu", devices=1, barebones=True)
    trainer.strategy.connect(module := MAPOModule(policy=Policy(path="builtin"), rewards=rewards))
    module.trainer = trainer
    module.configure_model()
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    again = MAPOModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.rewards == tuple(rewards)


def test_without_completions_the_function_is_not_called():
    assert reward("breaks")([]) == []


CONFIG = """
model:
  rewards+:
    - {class_path: mapo.rewards.function.FunctionReward, init_args: {function: some_rewards.brevity, weight: 0.2}}
    - {class_path: FunctionReward, init_args: {function: some_rewards.closeness, weight: 0.1}}
"""
PLAN = ("fit", "--config", "configs/mapo_tiny.yaml", "--config", "functions.yaml", "--plan=true")


def test_yaml_names_functions_of_a_file_in_the_working_folder(tmp_path):
    (tmp_path / "functions.yaml").write_text(CONFIG)
    plan = invoke(tmp_path, *PLAN)
    assert plan.code == 0, plan.err
    assert "math_answer 0.9, think_format 0.1, brevity 0.2, closeness 0.1" in plan.out


def test_a_misspelt_function_is_one_line_on_the_command_line(tmp_path):
    (tmp_path / "functions.yaml").write_text(CONFIG.replace("brevity", "brevty"))
    assert "there is no function brevty in" in (line := invoke(tmp_path, *PLAN).error)
    assert "did you mean some_rewards.brevity?" in line
