import torch
from torch import nn

from mapo.modules.synchronisation import fill_missing_gradients, reach


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
