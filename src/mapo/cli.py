"""The command line: LightningCLI with layered configs, one-line errors and a validation before training."""

import argparse
import importlib
import inspect
import logging
import pickle
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import DefaultHelpFormatter, Namespace, set_parsing_settings
from jsonargparse._paths import PathError  # public nowhere
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from transformers.utils import logging as transformers_logging
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.argument_errors import explain
from mapo.argument_places import broken_files
from mapo.callbacks.certainty import CertaintyDiagnostics
from mapo.callbacks.collapse import CollapseWarnings
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.progress import PhaseProgressBar
from mapo.callbacks.summary import ClosingSummary
from mapo.callbacks.throughput import PhaseThroughput
from mapo.data.base import PromptDataModule
from mapo.losses.aggregation import Aggregation
from mapo.losses.base import PolicyLoss
from mapo.modules import startup
from mapo.modules.checkpoint_files import SHARDED_STATE, read_state, require_whole, restore_replaced
from mapo.modules.continuing import checkpoint_folders, continue_run, last_checkpoint
from mapo.modules.mapo import MAPOModule
from mapo.modules.plan import plan
from mapo.modules.supervised import SupervisedModule
from mapo.refusal import debugging, refuse
from mapo.rewards.base import Reward
from mapo.rollout.base import RolloutEngine, RolloutError
from mapo.usage import COMMANDS, DESCRIPTION, USAGE

_CHECKPOINT_KEYWORDS = ("best", "last", "hpc")  # and "registry:...": what Lightning takes instead of a path

# What Lightning and PyTorch say on every run, and nobody here can act on.
_ADVERTISEMENTS = "💡 Tip: For seamless cloud"  # two tips to install the loggers of a hosted platform
_NOISE = (
    "LightningCLI's args parameter",  # they are the process's own, less a word
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # inside Lightning
    "Using `?ModelCheckpoint`? with manual optimization",  # checkpoints lie between phases, with nothing to copy
    "predict returned None",  # the completions are in a file
)


class _Formatter(DefaultHelpFormatter):
    """Keeps the lines of the description, and does not list every option twice."""

    @override
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(USAGE, actions, groups, prefix)

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


class UsageError(Exception):
    """An argument that the parser refuses."""

    def __init__(self, message: str, options: Sequence[str]) -> None:
        """Take the parser's words, and the names of the options that it has."""
        super().__init__(message)
        self.options = options


class OneLineParser(LightningArgumentParser):
    """Reports a wrong argument in one line, without the usage of every option."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # No abbreviations: a misspelt option must not pass for another one.
        super().__init__(*args, **{"prog": "mapo", "allow_abbrev": False, **kwargs})

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if debugging():
            super().error(message, ex)
        raise UsageError(str(message), [*_options(self)])


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _options(subparser)
        yield from (name.removeprefix("--") for name in action.option_strings if name.startswith("--"))


class MapoCLI(LightningCLI):
    """LightningCLI whose command line wins over checkpoints, and which validates before it trains."""

    def __init__(self, *args: Any, command: str | None, **kwargs: Any) -> None:
        """Take the arguments of LightningCLI, and the one command that is asked for; all are offered when None."""
        self._command, self._arguments = command, kwargs.get("args") or ()
        super().__init__(*args, **kwargs)

    @override
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static upstream
        offered = LightningCLI.subcommands()
        # Building the parser of one command takes a third of a second.
        return offered if self._command is None else {self._command: offered[self._command]}

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(**kwargs, formatter_class=_Formatter)

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(PhaseProgressBar, "progress_bar")
        parser.add_lightning_class_args(CompletionsTable, "completions")
        parser.add_lightning_class_args(ClosingSummary, "summary")
        parser.add_lightning_class_args(PhaseThroughput, "throughput")
        parser.add_lightning_class_args(CertaintyDiagnostics, "certainty")
        parser.add_lightning_class_args(CollapseWarnings, "collapse")
        parser.add_argument(
            "--validate_before_fit", type=bool, default=True, help="Evaluate before training; not done on resume."
        )
        if self._command in ("fit", None) and self._model_class is MAPOModule:
            parser.add_argument("--plan", type=bool, default=False, help="Print what fit would do, and stop.")
        # A batch is a whole rollout phase, so each one is worth its log entry.
        parser.set_defaults({"trainer.log_every_n_steps": 1, "trainer.num_sanity_val_steps": 0})

    @override
    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        self._check_trust(config)
        if config.model.policy.path == "builtin":
            transformers_logging.disable_progress_bar()  # its weights are there before a bar could be read
        if "verbose" in config:
            config.verbose = False  # Lightning's table of the figures that the summary shows set by set
        self._planned_trainer = config.trainer.as_dict()
        if config.get("plan"):  # a plan can be made where the run's devices are not
            here = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}
            config.trainer.update(Namespace(**here, precision=None, logger=False, callbacks=None))

    def _check_trust(self, config: Namespace) -> None:
        """Run the code of a model only where this very command says so, and read checkpoints as data unless told else.

        A YAML may come from anywhere.
        """
        asked = any(argument.startswith("--model.policy.trust_remote_code") for argument in self._arguments)
        if config.model.policy.trust_remote_code and not asked:
            raise ValueError(
                f"a configuration file sets model.policy.trust_remote_code, which runs the code that "
                f"{config.model.policy.path!r} brings; if you trust it, say so yourself: "
                "--model.policy.trust_remote_code true"
            )
        if "weights_only" in config and config.weights_only is None:
            config.weights_only = True  # Lightning would read one from an URL as a program

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise MisconfigurationException(
                f"no trainer can be made of these trainer options: {error} "
                "(--trainer.accelerator auto --trainer.devices 1 --trainer.strategy auto is possible everywhere)"
            ) from error

    def before_fit(self) -> None:
        """Evaluate the untrained policy, so that the closing summary can compare."""
        config = self.config[self.subcommand]
        if config.get("plan"):
            sys.stdout.write(plan(self.model, self.datamodule, self._planned_trainer) + "\n")
            raise SystemExit(0)
        resumed = self.config_init[self.subcommand].ckpt_path
        validates = is_overridden("validation_step", self.model, LightningModule)
        if config.validate_before_fit and not resumed and validates and self.trainer.limit_val_batches:
            startup.check_before_validation(self.model, self.datamodule, self.trainer)
            if not self.datamodule.eval_names:
                return
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
            self.trainer.enable_autolog_hparams = False  # the same logger has them now

    @override
    def _parse_ckpt_path(self) -> None:
        """Change nothing: upstream lets a checkpoint's hyperparameters override YAML and command line silently."""

    @override
    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        config = self.config[self.subcommand]
        if config.get("ckpt_path") and not config.get("plan"):
            path = self._find_checkpoint(str(config.ckpt_path))
            self.config_init[self.subcommand].ckpt_path = path
            for line in differences(stored_hyperparameters(str(path)), config.model.as_dict()) if path else ():
                rank_zero_info(f"{path}: {line}")
            if path and Path(path).exists() and self.subcommand == "fit":
                continue_run(self.trainer, Path(path))

    def _find_checkpoint(self, given: str) -> str | None:
        """Return the path that ``last`` stands for; None where there is nothing to continue, so that a fit begins."""
        if given != "last":
            restore_replaced(Path(given).parent)
            return given
        path = last_checkpoint(self.trainer)
        if path is not None:
            rank_zero_info(f"--ckpt_path last is {path}")
            return str(path)
        places = ", ".join(map(str, checkpoint_folders(self.trainer))) or "the folders of this logger's runs"
        if self.subcommand != "fit":
            raise ValueError(f"--ckpt_path last: there is no whole checkpoint in {places}; name one, or leave it out")
        rank_zero_info(f"--ckpt_path last: there is no whole checkpoint in {places} yet; training starts anew")
        return None


def stored_hyperparameters(ckpt_path: str) -> dict[str, Any]:
    """Return what a checkpoint holds of its module's arguments; nothing for what only Lightning can find.

    Raises:
        ValueError: There is nothing at this path, no checkpoint, or a damaged one.
    """
    path = Path(ckpt_path)
    if ckpt_path in _CHECKPOINT_KEYWORDS or ckpt_path.startswith("registry") or "://" in ckpt_path:
        return {}
    if path.is_dir() and not (path / SHARDED_STATE).is_file():
        return {}
    if not path.exists():
        raise ValueError(f"ckpt_path {ckpt_path} does not exist; checkpoints are in a run's folder, under checkpoints/")
    try:
        return dict(read_state(path).get("hyper_parameters", {}))
    except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        require_whole(path)
        raise ValueError(f"ckpt_path {ckpt_path} is no checkpoint of this package: {error}") from error


def differences(stored: Any, given: Any, name: str = "model") -> list[str]:
    """Return one line per argument in which a checkpoint and the configuration differ; the configuration wins.

    Example:
        >>> differences({"group_size": 12}, {"group_size": 8})
        ['model.group_size was 12 in the checkpoint, is 8 now']
    """
    if isinstance(stored, dict) and isinstance(given, dict):
        shared = [key for key in given if key in stored]
        return [line for key in shared for line in differences(stored[key], given[key], f"{name}.{key}")]
    if isinstance(stored, list | tuple) and isinstance(given, list | tuple):
        stored, given = list(stored), list(given)  # YAML knows no tuples
    return [] if stored == given else [f"{name} was {stored!r} in the checkpoint, is {given!r} now"]


def run(arguments: Sequence[str]) -> None:
    """Run one command; a wrong argument ends in one line and exit code 2."""
    model: type[LightningModule] = MAPOModule
    complete = "configs/mapo_tiny.yaml"
    arguments = list(arguments)
    if arguments[:1] == ["supervised"]:
        model, arguments, complete = SupervisedModule, arguments[1:], "configs/warm_start_tiny.yaml"
    command = next((argument for argument in arguments if argument in COMMANDS), None)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as `python -m` has it: YAML names classes of files in the working folder
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the fields' own words in --help
    _silence()
    _import_components()
    try:
        MapoCLI(
            model,
            PromptDataModule,
            command=command,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_class=OneLineParser,
            auto_configure_optimizers=False,
            parser_kwargs={command: {"description": COMMANDS[command]}} if command else {"description": DESCRIPTION},
            args=arguments,
        )
    except UsageError as error:
        refuse(explain(str(error), arguments, error.options, _component_classes(), complete=complete))
    except (RolloutError, MisconfigurationException, ValueError, PathError) as error:
        words = None if debugging() else _of_arguments(error, arguments)
        if words is None:
            raise
        refuse(words)


def _of_arguments(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return what the parser or Lightning refuses, in words; None for what others raise."""
    if isinstance(error, PathError):  # config.yaml of the run
        return f"{error}; let this user in, or name another place"
    if not isinstance(error, ValueError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return next(broken_files(arguments), None)
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    if "jsonargparse" in raised_in:  # a component's constructor has refused
        return explain(str(error), arguments, (), _component_classes())
    if raised_in[-1] == "seed.py":
        return f"--seed_everything: {error}"
    return str(error) if "lightning" in raised_in else None


def _silence() -> None:
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_ADVERTISEMENTS)


def _component_classes() -> dict[str, type]:
    """Return the components that YAML may call by their short names."""
    found: list[type] = [Advantage, Aggregation, PolicyLoss, PromptDataModule, Reward, RolloutEngine]
    for known in found:  # grows while it is read
        found.extend(known.__subclasses__())
    return {known.__name__: known for known in found if not inspect.isabstract(known)}


def _import_components() -> None:
    """Import every component, so that YAML and ``--help`` know them by their short names."""
    for port in ("advantages", "losses", "rewards", "rollout", "data"):
        package = importlib.import_module(f"mapo.{port}")
        for found in pkgutil.iter_modules(package.__path__):
            if not found.name.endswith("_worker"):
                importlib.import_module(f"mapo.{port}.{found.name}")
