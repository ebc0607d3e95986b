# `make demo` and `make test` each take a fresh clone to the finish.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types clean

demo: $(VENV)/.base
	rm -rf demo.gallery
	$(BIN)/facedb index data/train -g demo.gallery
	$(BIN)/facedb people list -g demo.gallery
	$(BIN)/facedb query data/val/Mira_Solene/05.jpg -g demo.gallery --picture demo.png
	$(BIN)/facedb evaluate data/val -g demo.gallery --k 1,5,10
	@echo "look at demo.png"

# A worker a core, each with one thread: more would wait for each other.
test: $(VENV)/.test lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

$(VENV)/.base: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu]'
	touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,train,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo.gallery demo.png
