"""What a run is going to do, in words, before anything is loaded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mapo.data.base import PromptDataModule
from mapo.modules.evaluation import Evaluation
from mapo.modules.hyperparameters import NotDescribableError, describe
from mapo.modules.mapo import MAPOModule
from mapo.modules.memory import Layout, estimate
from mapo.modules.memory_report import memory_table


def plan(module: MAPOModule, data: PromptDataModule, trainer: Mapping[str, Any]) -> str:
    """Return the plan of a fit as an aligned table, and what memory it takes.

    Args:
        module: Not yet loaded.
        data: Not yet set up.
        trainer: Its configuration; a plan needs none of its devices.
    """
    sampling, objective = module.sampling, module.objective
    completions = data.batch_size * module.group_size
    rows = {
        "model": f"{module.policy.path}, {_trained(module)}",
        "data": f"{type(data).__name__}; out of domain: {_names(data.out_of_domain) or 'none'}",
        "advantage": _describe(module.advantage),
        "loss": f"{_describe(objective.loss)}, {_describe(objective.aggregation)}",
        "reference": f"{objective.kl_estimator} x {objective.kl_coef:g}" if objective.kl_coef else "none",
        "rewards": ", ".join(f"{reward.name} {reward.weight:g}" for reward in module.rewards),
        "one phase": f"{data.batch_size} prompts x {module.group_size} completions = {completions}, "
        f"up to {completions * sampling.max_completion_tokens:,} tokens; "
        f"{module.updates_per_phase} optimizer step{'' if module.updates_per_phase == 1 else 's'}",
        **_refills(module, data),
        "sampling": f"T={sampling.temperature:g} top_p={sampling.top_p:g} top_k={sampling.top_k} "
        f"at most {sampling.max_completion_tokens} tokens after at most {module.policy.max_prompt_tokens} of prompt",
        "evaluation": _evaluation(module.evaluation),
        "ends after": _end(trainer),
        "devices": f"{trainer['devices']} x {trainer['accelerator']} on {trainer['num_nodes']} node(s), "
        f"strategy {_name(trainer['strategy'])}, precision {trainer['precision'] or '32-true'}",
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {text}" for name, text in rows.items()]
    return "\n".join([*lines, "", _memory(module, data.batch_size, Layout.of(trainer))])


def _memory(module: MAPOModule, batch_size: int, layout: Layout) -> str:
    try:
        return memory_table(estimate(module, batch_size, layout), layout)
    except ValueError as reason:  # a plan can be made where the model cannot be looked at
        return f"Memory: not known here, since {reason}"


def _refills(module: MAPOModule, data: PromptDataModule) -> dict[str, str]:
    dynamic = module.dynamic_sampling
    if dynamic is None:
        return {}
    text = f"up to {dynamic.max_refills} x {data.batch_size} more prompts where groups are all right or all wrong"
    return {"refills": f"{text}; an epoch has a phase per {dynamic.max_waves * data.batch_size} rows"}


def _evaluation(evaluation: Evaluation) -> str:
    usual = _modes(replace(evaluation, sets={}))
    return "; ".join([usual, *(f"{key}: {_modes(evaluation.of(key))}" for key in evaluation.sets)])


def _modes(evaluation: Evaluation) -> str:
    return ", ".join(f"{mode} {num} x T={s.temperature:g}" for mode, num, s in evaluation.modes(""))


def _trained(module: MAPOModule) -> str:
    policy = module.policy
    what = f"LoRA rank {policy.lora.rank}" if policy.lora else "all weights trained"
    return what + (", vision tower frozen" if policy.freeze_vision else "")


def _names(modules: tuple[PromptDataModule, ...]) -> str:
    return ", ".join(type(module).__name__ for module in modules)


def _describe(component: object) -> str:
    try:
        arguments = describe(component)["init_args"]
    except NotDescribableError:
        arguments = {}
    return _called(type(component).__name__, arguments)


def _called(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a component as the call that builds it, without class paths and arguments that are left out."""
    listed = []
    for key, value in arguments.items():
        is_component = isinstance(value, Mapping) and "class_path" in value
        shown = _called(_name(value), value["init_args"]) if is_component else value
        listed += [] if value is None else [f"{key}={shown}"]
    return f"{name}({', '.join(listed)})"


def _name(value: Any) -> str:
    return str(value["class_path"]).rpartition(".")[2] if isinstance(value, Mapping) else str(value)


def _end(trainer: Mapping[str, Any]) -> str:
    limits = {"epochs": trainer["max_epochs"], "optimizer steps": trainer["max_steps"]}
    return " or ".join(f"{number} {name}" for name, number in limits.items() if number not in (None, -1)) or "no limit"
