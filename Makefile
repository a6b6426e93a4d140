# Each target sets up what it needs: a virtual environment with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: ablation demo test test-faults check fast docs figures clean

demo: $(VENV)/.installed  ## the main job: a tiny vision-language model learns to read areas and perimeters
	$(BIN)/python -m mapo fit --config configs/mapo_tiny.yaml

ablation: $(VENV)/.installed  ## every method with three seeds, resumable, and the report of it in docs/ablation.md
	$(BIN)/python -m benchmarks.ablation

test: check  ## everything: linters, tests, doctests, notebooks, the README's commands
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-faults: $(VENV)/.installed  ## fifty runs killed at moments drawn at random, and resumed
	OMP_NUM_THREADS=1 MAPO_KILLS=50 $(BIN)/python -m pytest -q tests/faults

check: $(VENV)/.installed  ## linters, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.installed  ## the tests without those marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow"

docs: $(VENV)/.docs  ## the documentation as a web site in site/
	$(BIN)/mkdocs build --strict

figures: $(VENV)/.installed  ## the pictures of docs/diagnostics.md: the demo on 96 prompts that come five times
	$(BIN)/python -m mapo fit --config configs/mapo_tiny.yaml --validate_before_fit false \
		--data.max_train_samples 96 --data.max_eval_samples 8 --trainer.max_epochs 5 --trainer.val_check_interval 60 \
		--trainer.logger CSVLogger --trainer.logger.save_dir runs --trainer.logger.name figures --trainer.logger.version latest
	mkdir -p docs/figures
	cp runs/figures/latest/figures/certainty/*.png docs/figures/

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache
