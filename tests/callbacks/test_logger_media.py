"""Every logger gets tables and figures in its own way, or files do."""

import sys
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapo.callbacks.logger_media import LoggerMedia


class LikeWandb(Logger):
    """The two methods of WandbLogger that are used, with its signatures."""

    name, version, save_dir = "kept", 0, None

    def __init__(self):
        super().__init__()
        self.tables, self.images = [], []

    def log_table(self, key, columns=None, data=None, dataframe=None, step=None):
        self.tables.append((key, columns, data, step))

    def log_image(self, key, images, step=None, **kwargs):
        self.images.append((key, [image.shape for image in images], step))

    def log_metrics(self, metrics, step=None): ...

    def log_hyperparams(self, *_, **__): ...


def figure():
    drawn = Figure(figsize=(3, 2), dpi=100, facecolor="red")
    drawn.subplots().plot([0, 1])
    return drawn


def show(trainer):
    media = LoggerMedia.of(trainer)
    media.table("completions/train", ["sample", "text"], [["a", "x|y"]], 3)
    media.figure("certainty/map", figure(), 3)
    return media


def test_tensorboard_shows_markdown_and_images(make_trainer, tmp_path):
    logger = TensorBoardLogger(tmp_path)
    assert show(make_trainer(logger=logger)).without is None
    logger.experiment.flush()
    shown = EventAccumulator(logger.log_dir).Reload()
    (text,) = shown.Tensors("completions/train/text_summary")
    assert text.tensor_proto.string_val[0].decode().splitlines()[-1] == "| a | x&#124;y |"
    (image,) = shown.Images("certainty/map")
    assert (image.step, image.width, image.height) == (3, 300, 200)
    assert not list(Path(logger.log_dir).rglob("*.png"))


def test_weights_and_biases_shows_tables_and_images(make_trainer, tmp_path):
    logger = LikeWandb()
    assert show(make_trainer(logger=logger)).without is None
    assert logger.tables == [("completions/train", ["sample", "text"], [["a", "x|y"]], 3)]
    assert logger.images == [("certainty/map", [(200, 300, 3)], 3)]
    assert not list(tmp_path.rglob("*.png"))


def test_where_no_logger_shows_figures_the_latest_is_a_file(make_trainer, tmp_path):
    logger = CSVLogger(tmp_path)
    assert show(make_trainer(logger=logger)).without == "CSVLogger"
    path = Path(logger.log_dir) / "figures" / "certainty" / "map.png"
    assert np.asarray(Image.open(path).convert("RGB"))[0, 0].tolist() == [255, 0, 0]


def test_a_second_logger_that_shows_them_makes_files_needless(make_trainer, tmp_path):
    logger = LikeWandb()
    assert show(make_trainer(logger=[CSVLogger(tmp_path), logger])).without is None
    assert len(logger.images) == len(logger.tables) == 1
    assert not list(tmp_path.rglob("*.png"))


def test_without_a_logger_nothing_is_shown_or_left_behind(make_trainer, tmp_path):
    media = show(make_trainer())
    assert not media.has_figures
    assert media.without is None
    assert not list(tmp_path.iterdir())


def test_pyplot_is_left_alone(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would now fail
    show(make_trainer(logger=TensorBoardLogger(tmp_path)))


def test_the_real_logger_of_weights_and_biases(make_trainer, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(save_dir=tmp_path)
    show(make_trainer(logger=logger))
    logger.experiment.finish()
    media = {path.suffix for path in tmp_path.glob("wandb/offline-run-*/files/media/**/*") if path.is_file()}
    assert {".png", ".json"} <= media
