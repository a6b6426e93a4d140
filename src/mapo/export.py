"""``mapo export``: a checkpoint's policy as a folder that transformers, peft and vLLM load."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from typing_extensions import override

from mapo.modules.export_folder import ExportFolder
from mapo.modules.stored_policy import read_policy
from mapo.refusal import refuse

_DESCRIPTION = """Write a checkpoint's policy as a folder for transformers, peft and vLLM: its weights (with LoRA the
adapters alone, unless --merge), the base model's tokenizer, processor and chat template, the tokens that end an answer,
and a model card with the run's configuration and figures."""


def export(
    ckpt_path: str | Path,
    folder: ExportFolder,
    *,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Export the policy of a checkpoint.

    Args:
        ckpt_path: What ``fit`` saved, a file or the folder of a sharded one; the run's figures are looked for beside it
            and in the folder above.
        folder: Where and how.
        base_model: Where the model is now that was trained; None: where it was.
        trust_remote_code: Run the code that this model brings.

    Raises:
        ValueError: The checkpoint cannot be read or does not belong to its model, or the folder is taken.
    """
    folder.check()
    stored = read_policy(ckpt_path, base_model=base_model, trust_remote_code=trust_remote_code)
    folder.write(
        stored.load(),
        base=stored.recipe.path,
        phase=stored.phase,
        hyperparameters=stored.hyperparameters,
        run_folder=_run_folder(Path(ckpt_path)),
    )


def run(arguments: Sequence[str]) -> None:
    """Run ``mapo export``; a wrong argument ends in one line and exit code 2."""
    given = _parser().parse_args(arguments)
    folder = ExportFolder(
        path=Path(given.output).expanduser().absolute(),
        merge=given.merge,
        dtype=given.dtype,
        overwrite=given.overwrite,
        push_to_hub=given.push_to_hub,
        public=given.public,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing")  # between peft and transformers
        export(given.ckpt_path, folder, base_model=given.base_model, trust_remote_code=given.trust_remote_code)
    where = f" and on the Hub as {given.push_to_hub}" if given.push_to_hub else ""
    sys.stdout.write(f"The policy of {given.ckpt_path} is in {given.output}{where}.\n")


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        refuse(f"{message} (`mapo export --help` shows all options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mapo export", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a run, such as runs/.../last.ckpt")
    parser.add_argument("--output", required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--merge", action="store_true", help="with LoRA: save the whole model with the adapters in it")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="type of the saved weights (%(default)s)"
    )
    parser.add_argument("--base_model", help="where the model that was trained is now, if it moved")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the code that this model brings")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.add_argument("--push_to_hub", metavar="OWNER/NAME", help="upload it, too; a new repository is private")
    parser.add_argument("--public", action="store_true", help="make a new repository on the Hub public")
    return parser


def _run_folder(ckpt_path: Path) -> Path | None:
    around = (ckpt_path.parent, ckpt_path.parent.parent)
    return next((folder for folder in around if (folder / "results.json").is_file()), None)
