import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mapo.callbacks.ranks import gather, is_rank_zero

TWO_RANKS = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from conftest import WrittenAnswers, make_prompt
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.progress import PhaseProgressBar
from mapo.callbacks.summary import ClosingSummary
from mapo.data.loader import EvaluationLoader, PhaseLoader

folder, ckpt_path = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
callbacks = [PhaseProgressBar(seconds_per_line=0), CompletionsTable(), ClosingSummary(),
             ModelCheckpoint(folder + "/kept", every_n_train_steps=4, save_top_k=-1, filename="{step}")]
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true", max_epochs=1, logger=False,
                  default_root_dir=folder, callbacks=callbacks, num_sanity_val_steps=0, enable_model_summary=False)
rows, ranks = [make_prompt(f"row-{i}") for i in range(12)], {"rank": trainer.global_rank, "world_size": 2}
trainer.fit(WrittenAnswers(), PhaseLoader(rows, batch_size=4, shuffle=False, **ranks),
            EvaluationLoader(rows[:5], batch_size=4, **ranks), ckpt_path=ckpt_path)
"""


def run(script: Path, folder: Path, *arguments: object) -> str:
    command = [sys.executable, script, Path(__file__).parent, folder, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_single_process_is_all_ranks():
    assert gather({"a": 1}) == [{"a": 1}]
    assert is_rank_zero()


@pytest.mark.slow
def test_two_ranks_keep_and_count_everything_once(tmp_path):
    script, folder = tmp_path / "two_ranks.py", tmp_path / "run"
    script.write_text(TWO_RANKS)
    output = run(script, folder)
    assert "Epoch 1/1: 3/3 phases" in output
    assert "Validation grid: 5/5 rows" in output
    assert output.count("Closing summary of fit") == 1
    assert json.loads((folder / "results.json").read_text())["tokens_sampled"] == 3 * 4 * (3 + 4)
    files = {path.name: path.read_text() for path in folder.glob("*.jsonl")}
    assert sorted(files) == [f"{stem}.rank{rank}.jsonl" for stem in ("completions", "evaluation") for rank in (0, 1)]
    sampled = [
        json.loads(line)["sample_id"] for rank in (0, 1) for line in files[f"completions.rank{rank}.jsonl"].splitlines()
    ]
    assert sorted(set(sampled)) == sorted(f"row-{i}" for i in range(12))
    assert len(sampled) == 12 * 2
    assert sum(len(files[f"evaluation.rank{rank}.jsonl"].splitlines()) for rank in (0, 1)) == 5 * (1 + 2)

    run(script, folder, folder / "kept" / "step=4.ckpt")  # after two phases of three
    assert {name: (folder / name).read_text() for name in files} == files
    assert json.loads((folder / "results.json").read_text())["tokens_sampled"] == 3 * 4 * (3 + 4)
