# Two commands do everything: make demo, make test. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
FAISS := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin

.PHONY: demo test check bench-clip pack clean

demo: .venv/demo
	$(BIN)/mneme demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# PACK=DIR is a folder with metadata.jsonl, MODEL=SPEC another CLIP, OPTIONS='--seeds 5' what else it takes.
bench-clip: pack .venv/demo
	$(BIN)/python -m benchmarks.clip '$(PACK)' $(if $(MODEL),--backbone '$(MODEL)') $(OPTIONS)

pack:
	@$(if $(PACK),:,$(error no pack named: make bench-clip PACK=DIR))

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),report]'
	touch $@

.venv/dev: .venv/demo
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),report,dev]'
	touch $@

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
