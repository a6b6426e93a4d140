from io import BytesIO

import torch
from arithmetic import Sums, make_module
from lightning.pytorch import Trainer
from PIL import Image


class Picture(bytes):
    """An undecoded picture that may be read, but not looked through byte by byte."""

    def __iter__(self):
        raise AssertionError("a picture of a megabyte would take two seconds")


class Pictures(Sums):
    def _rows(self, start, num):
        file = BytesIO()
        Image.new("RGB", (56, 56)).save(file, format="PNG")
        picture = {"bytes": Picture(file.getvalue()), "path": None}
        return [self.prompt(f"row-{i}", "<image>?", "0", images=[picture]) for i in range(start, start + num)]


def test_the_bytes_of_a_picture_are_not_searched_for_tensors(tiny_vl_path):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = make_module(tiny_vl_path)
    trainer.fit(module, datamodule=Pictures(num=4))
    assert module.global_step == 1
    assert torch.isfinite(trainer.callback_metrics["train/gradient_norm"])
