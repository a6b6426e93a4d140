"""Rows whose pictures turn out to be broken when they are asked."""

import io

import pytest
from arithmetic import SHORT, make_module
from lightning.pytorch import Trainer
from PIL import Image

from mapo.data.base import PromptDataModule
from mapo.modules.evaluation import Evaluation
from mapo.modules.set_evaluation import picture_faults
from mapo.policies.policy import Policy


def jpeg(share: float = 1.0) -> bytes:
    """A picture, or its beginning: the header is whole, so its size can be told."""
    file = io.BytesIO()
    Image.effect_noise((56, 28), 50).convert("RGB").save(file, "JPEG")
    return file.getvalue()[: int(share * file.tell())]


class Cut(PromptDataModule):
    """Five pictures, two of them cut off."""

    def train_prompts(self):
        return []

    def eval_prompts(self):
        shares = [1.0, 0.7, 1.0, 0.7, 1.0]
        files = [{"bytes": jpeg(share), "path": f"{i}.jpg"} for i, share in enumerate(shares)]
        return {"cut": [self.prompt(f"row-{i}", "<image>?", "1", images=[file]) for i, file in enumerate(files)]}


@pytest.fixture
def validate(tmp_path, tiny_vl_path):
    def run(data):
        evaluation = Evaluation(sampling=SHORT, num_samples=2)
        module = make_module(tiny_vl_path, policy=Policy(path=str(tiny_vl_path)), evaluation=evaluation)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, **quiet)
        trainer.validate(module, datamodule=data, verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    return run


def test_a_broken_picture_is_a_wrong_answer_where_bad_rows_are_skipped(validate):
    data = Cut(instruction="", eval_batch_size=2, on_bad_row="skip")
    found = validate(data)
    assert (found["val/cut/num_samples_evaluated"], found["val/cut/num_bad_rows_greedy"]) == (5, 2)
    assert list(data.bad_rows["cut"]) == ["row-1", "row-3"]
    assert "1.jpg: image file is truncated" in data.bad_rows["cut"]["row-1"]


def test_otherwise_it_ends_the_run_with_its_set_its_row_and_the_fix(validate):
    with pytest.raises(ValueError, match=r"set 'cut': 'row-1': cannot read the image 1\.jpg.*on_bad_row='skip'"):
        validate(Cut(instruction="", eval_batch_size=2))


def test_sound_pictures_have_no_faults(make_prompt):
    assert picture_faults([make_prompt("x", (28, 28)), make_prompt("y")]) == {}
