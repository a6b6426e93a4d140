"""A policy with all that others need to load it, written in one piece, and pushed to the Hub when asked."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from mapo.modules.model_card import ModelCard
from mapo.modules.replacing import put, restore
from mapo.policies.model import PolicyModel
from mapo.policies.saving import SavedType, save_policy

_OF_A_MODEL = ("config.json", "adapter_config.json")


@dataclass(frozen=True, kw_only=True)
class ExportFolder:
    """Where and how a policy is exported.

    Attributes:
        path: The folder.
        merge: With LoRA, write the model with its adapters merged instead of the adapters alone.
        dtype: Of the weights.
        overwrite: Replace an earlier export; a folder with anything else in it is never touched.
        push_to_hub: Repository on the Hub, ``owner/name``, that the folder is uploaded to.
        public: Make that repository public if it does not exist yet; it is private otherwise.
    """

    path: Path
    merge: bool = False
    dtype: SavedType = "bfloat16"
    overwrite: bool = False
    push_to_hub: str | None = None
    public: bool = False

    def check(self) -> None:
        """Refuse to write over anything but an earlier export that is to be replaced."""
        restore(self.path)
        if self.path.is_file():
            raise ValueError(f"output {self.path} is a file; name a folder")
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        if not any((self.path / name).is_file() for name in _OF_A_MODEL):
            raise ValueError(f"output {self.path} holds other files than a model's; name a new or empty folder")
        if not self.overwrite:
            raise ValueError(f"output {self.path} already holds a model; name another folder, or set overwrite")

    def write(
        self,
        actor: PolicyModel,
        *,
        base: str,
        phase: int,
        hyperparameters: Mapping[str, Any],
        run_folder: Path | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write the folder with its model card, and push it when asked.

        Args:
            actor: On any device.
            base: Path or Hub name of the model that was trained.
            phase: Training steps behind the weights.
            hyperparameters: Arguments of the module that trained it, as plain values.
            run_folder: Where ``results.json`` and ``config.yaml`` of the run are; None where there are none.
            weights: The policy's whole state dict, where its own weights are sharded.

        Raises:
            ValueError: The folder is taken, or cannot be written.
        """
        self.check()
        card = ModelCard(
            base=base,
            adapters=hasattr(actor.model, "disable_adapter") and not self.merge,
            reads_images=actor.renderer.processor is not None,
            phase=phase,
            hyperparameters=hyperparameters,
            run_folder=run_folder,
        )
        # A broken-off export must not look like a whole one; and it leaves the one that it was to replace.
        draft = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            save_policy(actor, draft, dtype=self.dtype, merge=self.merge, weights=weights)
            card.write(draft, name=self.path.name)
            put(draft, self.path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise ValueError(
                f"output {self.path} cannot be written: {error}. Make room or choose another folder; `mapo export` "
                "makes it from any checkpoint"
            ) from error
        if self.push_to_hub is not None:
            push(self.path, self.push_to_hub, private=not self.public)


def push(folder: Path, repo_id: str, *, private: bool) -> None:
    """Upload a folder to a model repository on the Hub, which is created if need be; needs ``hf auth login``."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Export of a mapo run")
