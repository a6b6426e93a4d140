"""The policy of a checkpoint, without the rest of its run."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mapo.modules.checkpoint_files import read_state, require_whole, restore_replaced
from mapo.modules.sharded_files import read_sharded_weights
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Lora, Policy


@dataclass(frozen=True)
class StoredPolicy:
    """What a checkpoint holds of its policy.

    Attributes:
        recipe: Which model it is, and what of it was trained.
        weights: State dict of the ``PolicyModel``; with LoRA perhaps of the adapters alone.
        hyperparameters: Arguments of the module, as plain values.
        phase: Training steps that were finished when it was saved.
    """

    recipe: Policy
    weights: Mapping[str, Tensor]
    hyperparameters: Mapping[str, Any]
    phase: int

    def load(self) -> PolicyModel:
        """Load the policy, on the CPU.

        Raises:
            ValueError: Its model cannot be loaded, or is another one than the checkpoint's weights are of.
        """
        # How it was scored and trained does not matter any more.
        actor = replace(self.recipe, share_prefix=False, gradient_checkpointing=False).load_model(reference=False)
        trained = {name for name, parameter in actor.named_parameters() if parameter.requires_grad}
        try:
            found = actor.load_state_dict(dict(self.weights), strict=False)
        except RuntimeError as error:
            raise ValueError(f"the checkpoint's weights are not those of {self.recipe.path!r}: {error}") from error
        # Weights that were not trained may be left out of a checkpoint: they are the model's own.
        wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if name in trained)]
        if wrong:
            raise ValueError(
                f"the checkpoint's weights are not those of {self.recipe.path!r}: {len(wrong)} names differ, the first "
                f"is {wrong[0]}"
            )
        return actor


def read_policy(
    ckpt_path: str | Path, *, base_model: str | None = None, trust_remote_code: bool = False
) -> StoredPolicy:
    """Read what a checkpoint holds of its policy; nothing else of its run is built.

    Args:
        ckpt_path: What ``fit`` saved, of any module of this package, on any number of ranks: a file, or the folder of
            a sharded one.
        base_model: Where the model is now that was trained; None: where it was.
        trust_remote_code: Run the code that the model brings; that the checkpoint says so is not enough.

    Raises:
        ValueError: There is no such file, it is no checkpoint of this package or a damaged one, or its model brings
            code that is not to be run.
    """
    path = Path(ckpt_path)
    checkpoint = _read(path)
    hyperparameters = checkpoint.get("hyper_parameters", {})
    stored = read_sharded_weights(path) if path.is_dir() else checkpoint.get("state_dict", {})
    weights = {name.removeprefix("actor."): weight for name, weight in stored.items() if name.startswith("actor.")}
    if "policy" not in hyperparameters or not weights:
        raise ValueError(f"{ckpt_path} holds no policy; it must be a checkpoint that `mapo fit` saved")
    recipe = _recipe(hyperparameters["policy"])
    if recipe.trust_remote_code and not trust_remote_code:
        raise ValueError(
            f"{ckpt_path} asks to run the code that the model at {recipe.path!r} brings; if you trust it, say so: "
            "trust_remote_code"
        )
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    return StoredPolicy(
        recipe=recipe if base_model is None else replace(recipe, path=base_model),
        weights=weights,
        hyperparameters=hyperparameters,
        phase=int(progress["processed"]),
    )


def _read(path: Path) -> dict[str, Any]:
    restore_replaced(path.parent)
    if path.is_dir() and not any(path.glob("*.distcp")):
        raise ValueError(f"{path} is a folder; name a checkpoint in it, such as {path / 'last.ckpt'}")
    if not path.exists():
        raise ValueError(f"{path} does not exist; checkpoints are in a run's folder, under checkpoints/")
    require_whole(path)
    try:
        return read_state(path)
    except (RuntimeError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint of this package: {error}") from error


def _recipe(stored: Mapping[str, Any]) -> Policy:
    # Built by hand: a checkpoint may come from anywhere, and must not name what is imported.
    try:
        return Policy(**{**stored, "lora": Lora(**stored["lora"]) if stored.get("lora") else None})
    except TypeError as error:
        raise ValueError(
            f"the checkpoint's policy is not this package's, or that of another version: {error}"
        ) from error
