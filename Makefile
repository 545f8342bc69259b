# Two commands do everything: make demo, make test. PYTHON=python3.12 picks another interpreter, VENV another place.
PYTHON ?= python3
VENV ?= .venv
FAISS := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := $(VENV)/bin

.PHONY: demo test test-all check dist bench-clip pack clean

demo: $(VENV)/demo
	$(BIN)/mneme demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# The suite on every Python it may run on that is here, each in an environment of its own.
test-all:
	@for version in 3.10 3.11 3.12 3.13; do \
		if python$$version -c pass 2>/dev/null; \
		then $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "python$$version is not here: skipped"; \
		fi; \
	done

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The wheel and the sdist, looked into, and run away from the checkout.
dist: $(VENV)/dev
	$(BIN)/python .ci/dist.py dist

# PACK=DIR is a folder with metadata.jsonl, MODEL=SPEC another CLIP, OPTIONS='--seeds 5' what else it takes.
bench-clip: pack $(VENV)/demo
	$(BIN)/python -m benchmarks.clip '$(PACK)' $(if $(MODEL),--backbone '$(MODEL)') $(OPTIONS)

pack:
	@$(if $(PACK),:,$(error no pack named: make bench-clip PACK=DIR))

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),report]'
	touch $@

$(VENV)/dev: $(VENV)/demo
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),report,dev]'
	touch $@

clean:
	rm -rf .venv .venv-* demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
