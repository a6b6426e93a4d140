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


def check_optimizer(optimizer: Optimizer, states: Sequence[Mapping[str, Any]], num_weights: int) -> None:
    """Refuse the states of another kind of optimizer, or of other weights.

    One that has gained arguments since takes them.

    Args:
        optimizer: Of the kind that the run has.
        states: Of the checkpoint, as of ``Optimizer.state_dict``.
        num_weights: Tensors that the run trains.

    Raises:
        ValueError: They are.

    Example:
        >>> from torch.optim import Adam
        >>> adam = Adam(nn.Linear(1, 1).parameters())
        >>> check_optimizer(adam, [{"param_groups": [{"lr": 0.1, "momentum": 0.9, "params": [0]}]}], 1)
        Traceback (most recent call last):
        ...
        ValueError: the checkpoint's optimizer has momentum, which Adam does not know. ...
    """
    own = optimizer.param_groups[0].keys()
    for group in (group for state in states for group in state.get("param_groups", ())):
        strange = sorted(group.keys() - own - {"initial_lr"})  # a schedule has added it
        if strange and own - group.keys():
            raise ValueError(
                f"the checkpoint's optimizer has {', '.join(strange)}, which {type(optimizer).__name__} does not know. "
                "Set model.optimizer to the one of the checkpoint, or start a new run without --ckpt_path"
            )
        if len(group["params"]) != num_weights:
            raise ValueError(
                f"the checkpoint trained {len(group['params'])} tensors of the model, this run trains {num_weights}. "
                "Set model.policy (freeze_vision, lora) as it was then, or start a new run without --ckpt_path"
            )


def trained_names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's weights in its order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
