"""What the tests of data share: a cache of their own, and the real rows where there are some."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def real_rows():
    """Return the folder of real benchmark rows."""
    folder = os.environ.get("MAPO_BENCHMARK_DATA")
    if not folder:
        pytest.skip("MAPO_BENCHMARK_DATA names no folder")
    return Path(folder)
