# make demo      set up, then train on the built-in data: about two minutes on a laptop
# make test      set up, then everything that must hold
# make test-slow the longer proofs
# make fuzz      2,000 damaged or strange inputs, or as many as INPUTS=… says
# make bench     speed and memory against named peers, about an hour on an idle machine;
#                WEIGHTS=FILE, a trained Mask R-CNN, adds what depends on what it finds;
#                RUN=DIR, of seglab evaluate, adds how often intervals contain the truth
# make bench-gpu what docs/speed.md leaves open for want of a GPU, 15 minutes on a machine with one;
#                ROOT=DIR, of VOC2007, for real photographs
# make same BASE=COMMIT  whether short runs of a commit and of HEAD compute the same, bit by bit
# make docs      the pages of docs/ into site/, with the tables of keys and the answers of errors renewed
# make test-lowest the tests with the lowest versions that pyproject.toml allows
# make lock      renew requirements.txt after a change of pyproject.toml
#
# TORCH_BACKEND=cpu (or auto) takes PyTorch's own, smaller wheels where their index can be reached.

# Without bytecode every process compiles torch again, which doubles its start.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
INPUTS ?= 2000
BIN := .venv/bin
UV := $(BIN)/uv
READY := .venv/.ready

.PHONY: demo test test-slow test-lowest same fuzz bench bench-gpu docs lint lock clean

demo: $(READY)
	$(BIN)/seglab train

# Three files of tests at a time: most of them wait for processes that import torch. Threads that
# would spin while they wait for each other take the cores from the others.
test: lint
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m slow -n 3 --dist worksteal

test-lowest: $(READY)
	$(PYTHON) -m venv --clear .venv/lowest
	$(UV) pip install --quiet --python .venv/lowest/bin/python --resolution lowest-direct \
		--editable '.[dev]'
	.venv/lowest/bin/python -m pytest

fuzz: $(READY)
	SEGLAB_FUZZ=$(INPUTS) $(BIN)/python -m pytest tests/fuzz -o faulthandler_timeout=60

bench: $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --no-build-isolation --editable '.[bench]'
	for name in input metric predict step start job_start scale listing compare search peers; do \
		$(BIN)/python -m benchmarks.$$name || exit 1; \
	done
ifdef WEIGHTS
	$(BIN)/python -m benchmarks.object_eval model.weights=$(WEIGHTS)
	$(BIN)/python -m benchmarks.object_memory model.weights=$(WEIGHTS)
endif
ifdef RUN
	$(BIN)/python -m benchmarks.coverage $(RUN)
endif

bench-gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu $(if $(ROOT),data=voc2007 data.root=$(ROOT))

docs: $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --no-build-isolation --editable '.[docs]'
	$(BIN)/python docs/configuration.py
	$(BIN)/python docs/errors.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

same: $(READY)
	$(BIN)/python -m benchmarks.same $(BASE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# uv comes from the lock as everything else does, and then installs the rest many times faster.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seglab needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv
	awk '/^[a-z]/ { uv = /^uv==/ } uv' requirements.txt > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
ifdef TORCH_BACKEND
	# The lock pins versions here, and not hashes: PyTorch's own wheels have others.
	sed -e 's/ *\\$$//' -e '/^ *--hash/d' requirements.txt > .venv/versions.txt
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python \
		--torch-backend=$(TORCH_BACKEND) --constraint .venv/versions.txt --editable '.[dev]'
else
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
		-r requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
endif
	touch $@

lock: $(READY)
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --extra dev pyproject.toml -o requirements.txt

clean:
	rm -rf .venv build dist site
