"""Export of the trained policy at the end of a fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from mapo.callbacks.log_dir import log_dir
from mapo.callbacks.phases import phases_finished
from mapo.modules.export_folder import ExportFolder
from mapo.modules.stored_policy import read_policy
from mapo.policies.saving import SavedType
from mapo.policies.sharding import full_state_dict


class HuggingFaceExport(Checkpoint):  # Lightning calls checkpoint callbacks last: after results.json is written
    """Writes the policy as a folder that transformers, peft and vLLM load when ``fit`` ends, as ``mapo export`` does.

    Args:
        folder: Where; ``export`` in the run's folder when null.
        which: ``last``, the weights at the end of fit, or ``best``, the best checkpoint by its monitor.
        merge: With LoRA, write the whole model with its adapters merged instead of the adapters alone.
        dtype: Of the saved weights.
        overwrite: Replace an earlier export.
        push_to_hub: Repository on the Hub, ``owner/name``, that the folder is uploaded to.
        public: Make that repository public if it does not exist yet.
    """

    def __init__(
        self,
        folder: str | None = None,
        which: Literal["last", "best"] = "last",
        merge: bool = False,
        dtype: SavedType = "bfloat16",
        overwrite: bool = False,
        push_to_hub: str | None = None,
        public: bool = False,
    ) -> None:
        self.folder, self.which, self.merge, self.dtype = folder, which, merge, dtype
        self.overwrite, self.push_to_hub, self.public = overwrite, push_to_hub, public
        self._run_folder: Path | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._run_folder = log_dir(trainer) if stage == "fit" else None
        if self._run_folder is None:
            return
        self._output(self._run_folder).check()  # now, not when the run is over
        if self.which == "best" and not _savers(trainer):
            raise ValueError(
                "HuggingFaceExport(which='best') needs a ModelCheckpoint with a monitor among trainer.callbacks; add "
                "one, or export which='last'"
            )

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._run_folder is None:
            return
        weights = full_state_dict(cast(Any, pl_module).actor) if self.which == "last" else None
        if trainer.is_global_zero:
            self._write(trainer, pl_module, self._run_folder, weights)

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, run_folder: Path, weights: Mapping[str, Tensor] | None
    ) -> None:
        output, module = self._output(run_folder), cast(Any, pl_module)
        if self.which == "best":
            best = _savers(trainer)[0].best_model_path
            if not best:
                raise ValueError(
                    "HuggingFaceExport(which='best') has nothing to export: no checkpoint was kept, since nothing was "
                    f"validated; `mapo export --ckpt_path ...` exports any checkpoint below {run_folder}"
                )
            stored = read_policy(best, trust_remote_code=module.policy.trust_remote_code)
            actor, phase = stored.load(), stored.phase
        else:
            actor, phase = module.actor, phases_finished(trainer)
        output.write(
            actor,
            base=module.policy.path,
            phase=phase,
            hyperparameters=dict(module.hparams),
            run_folder=run_folder,
            weights=weights,
        )
        rank_zero_info(f"The {self.which} policy is in {output.path}")

    def _output(self, run_folder: Path) -> ExportFolder:
        return ExportFolder(
            path=run_folder / "export" if self.folder is None else Path(self.folder).expanduser().absolute(),
            merge=self.merge,
            dtype=self.dtype,
            overwrite=self.overwrite,
            push_to_hub=self.push_to_hub,
            public=self.public,
        )


def _savers(trainer: Trainer) -> list[ModelCheckpoint]:
    return [saver for saver in trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint) and saver.monitor]
