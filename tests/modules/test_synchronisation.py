import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch import nn

from mapo.modules.synchronisation import check_strategy, fill_missing_gradients, reach


@pytest.mark.parametrize("strategy", [SingleDeviceStrategy("cpu"), DDPStrategy()])
def test_strategies_that_add_gradients_up_are_accepted(strategy):
    check_strategy(strategy)


@pytest.mark.parametrize("strategy", [ModelParallelStrategy(), FSDPStrategy()])
def test_others_are_refused_by_name(strategy):
    with pytest.raises(ValueError, match=f"{type(strategy).__name__} is not supported.* use 'ddp'"):
        check_strategy(strategy)


def test_every_parameter_is_visited_and_none_is_changed():
    used, unused = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(5.0))
    visited = []
    nodes = [parameter.expand_as(parameter).grad_fn.next_functions[0][0] for parameter in (used, unused)]
    for node in nodes:  # what DistributedDataParallel waits for
        node.register_hook(lambda *_, node=node: visited.append(node))
    loss = reach(used**2, [used, unused])
    loss.backward()
    assert (float(loss), float(used.grad), unused.grad) == (4.0, 4.0, None)
    assert set(visited) == set(nodes)


def test_a_missing_gradient_becomes_zero_and_others_stay():
    known, missing = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    known.grad = torch.full((2,), 7.0)
    fill_missing_gradients([known, missing])
    assert known.grad.tolist() == [7.0, 7.0]
    assert missing.grad.tolist() == [0.0, 0.0, 0.0]
