"""Optimizer states by the names of the weights, so that any strategy finds them in the checkpoint of any other."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer


def name_optimizer_state(state: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return an optimizer's state dict with the names of its weights in place of their numbers.

    Lightning's sharded strategies take the numbers for places among all weights, optimizers for places among their own:
    with frozen weights these differ. ``Optimizer.load_state_dict`` goes by the order alone and takes names as well.

    Args:
        state: As of ``Optimizer.state_dict``; one that has names already stays as it is.
        names: That of every number.

    Example:
        >>> state = {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        >>> name_optimizer_state(state, ["weight"])
        {'state': {'weight': {'step': 1}}, 'param_groups': [{'lr': 0.1, 'params': ['weight']}]}
    """

    def name(key: int | str) -> str:
        return key if isinstance(key, str) else names[key]

    return {
        "state": {name(key): value for key, value in state["state"].items()},
        "param_groups": [group | {"params": [name(key) for key in group["params"]]} for group in state["param_groups"]],
    }


def trained_names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's weights in its order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
