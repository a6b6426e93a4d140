"""The command line: LightningCLI with layered configs, one-line errors and a validation before training."""

import importlib
import os
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse import DefaultHelpFormatter, Namespace, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from typing_extensions import override

import mapo
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.progress import PhaseProgressBar
from mapo.callbacks.summary import ClosingSummary
from mapo.data.base import PromptDataModule
from mapo.modules.mapo import MAPOModule
from mapo.modules.plan import plan
from mapo.modules.supervised import SupervisedModule

_USAGE = "mapo [supervised] {fit,validate,test,predict} [--config FILE]... [--KEY VALUE]..."
_DESCRIPTION = """Fine-tune vision-language models with Mixed Advantage Policy Optimization (arXiv 2509.18849).

  mapo fit --config configs/mapo_tiny.yaml                        train on any machine, in minutes
  mapo fit --config A.yaml --config configs/algorithm/grpo.yaml   swap the method: later files win, then options
  mapo fit --config A.yaml --model.group_size 8 --print_config    show the whole resulting configuration
  mapo fit --config A.yaml --plan true                            say what it would do, load nothing
  mapo validate --config A.yaml --ckpt_path runs/.../last.ckpt    figures of every evaluation set
  mapo fit --model.advantage.help MixedAdvantage                  what a component's arguments mean
  mapo supervised fit --config configs/warm_start_tiny.yaml       supervised training on demonstrations

MAPO_DEBUG=1 shows the traceback of an error."""


class _Formatter(DefaultHelpFormatter):
    """Keeps the lines of the description, and does not list every option twice."""

    @override
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(_USAGE, actions, groups, prefix)

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


class OneLineParser(LightningArgumentParser):
    """Reports a wrong argument in one line, without the usage of every option."""

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if os.environ.get("MAPO_DEBUG"):
            super().error(message, ex)
        _exit(" ".join(str(message).split()))


class MapoCLI(LightningCLI):
    """LightningCLI whose command line wins over checkpoints, and which validates before it trains."""

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(**kwargs, formatter_class=_Formatter)

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(PhaseProgressBar, "progress_bar")
        parser.add_lightning_class_args(CompletionsTable, "completions")
        parser.add_lightning_class_args(ClosingSummary, "summary")
        parser.add_argument(
            "--validate_before_fit", type=bool, default=True, help="Evaluate before training; not done on resume."
        )
        parser.add_argument("--plan", type=bool, default=False, help="Print what fit would do, and stop.")
        # A batch is a whole rollout phase, so each one is worth its log entry.
        parser.set_defaults({"trainer.log_every_n_steps": 1, "trainer.num_sanity_val_steps": 0})

    @override
    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        self._planned_trainer = config.trainer.as_dict()
        if config.plan:  # a plan can be made where the run's devices are not
            here = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}
            config.trainer.update(Namespace(**here, precision=None, logger=False, callbacks=None))

    def before_fit(self) -> None:
        """Evaluate the untrained policy, so that the closing summary can compare."""
        config = self.config[self.subcommand]
        if config.plan and isinstance(self.model, MAPOModule):
            sys.stdout.write(plan(self.model, self.datamodule, self._planned_trainer) + "\n")
            raise SystemExit(0)
        validates = is_overridden("validation_step", self.model, LightningModule)
        if config.validate_before_fit and not config.ckpt_path and validates and self.trainer.limit_val_batches:
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)

    @override
    def _parse_ckpt_path(self) -> None:
        # Upstream lets a checkpoint's hyperparameters override YAML and command line silently.
        config = self.config.get(self.config.get("subcommand") or "", Namespace())
        path = config.get("ckpt_path")
        if path and Path(path).is_file():
            stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get("hyper_parameters", {})
            for line in differences(stored, config.model.as_dict()):
                rank_zero_info(f"{path}: {line}")


def differences(stored: Any, given: Any, name: str = "model") -> list[str]:
    """Return one line per argument in which a checkpoint and the configuration differ; the configuration wins.

    Example:
        >>> differences({"group_size": 12}, {"group_size": 8})
        ['model.group_size was 12 in the checkpoint, is 8 now']
    """
    if isinstance(stored, dict) and isinstance(given, dict):
        shared = [key for key in given if key in stored]
        return [line for key in shared for line in differences(stored[key], given[key], f"{name}.{key}")]
    return [] if stored == given else [f"{name} was {stored!r} in the checkpoint, is {given!r} now"]


def run(arguments: Sequence[str]) -> None:
    """Run one command; what the user can mend ends in one line and exit code 2."""
    model: type[LightningModule] = MAPOModule
    arguments = list(arguments)
    if arguments[:1] == ["supervised"]:
        model, arguments = SupervisedModule, arguments[1:]
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the fields' own words in --help
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # they are the process's own, less a word
    _import_components()
    try:
        MapoCLI(
            model,
            PromptDataModule,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_class=OneLineParser,
            auto_configure_optimizers=False,
            parser_kwargs={"description": _DESCRIPTION},
            args=arguments,
        )
    except (ValueError, MisconfigurationException) as error:
        if os.environ.get("MAPO_DEBUG") or not _is_for_the_user(error):
            raise
        _exit(str(error))


def _is_for_the_user(error: Exception) -> bool:
    """Tell a refusal by this package or by Lightning's configuration from a fault inside a library."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return isinstance(error, MisconfigurationException) or raised_in.is_relative_to(Path(mapo.__file__).parent)


def _exit(message: str) -> NoReturn:
    sys.stderr.write(f"mapo: error: {message}\n")
    raise SystemExit(2)


def _import_components() -> None:
    """Import every component, so that YAML and ``--help`` know them by their short names."""
    for port in ("advantages", "losses", "rewards", "rollout", "data"):
        package = importlib.import_module(f"mapo.{port}")
        for found in pkgutil.iter_modules(package.__path__):
            if not found.name.endswith("_worker"):
                importlib.import_module(f"mapo.{port}.{found.name}")
