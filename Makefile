# `make demo`, `make test` and `make lint` each work first on a fresh machine: they make .venv when it is missing.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo nightly test test-fast test-external lint bench clean

# Draw faces, train on them as an MLflow project, export the registered model, and ask it about faces it never saw.
demo: .venv/ready
	rm -rf demo
	agedetect draw demo/faces --count 1000
	mlflow run . --env-manager local --experiment-name agedetect-demo $(DEMO_PARAMETERS)
	agedetect-export models:/agedetect-demo@candidate --output demo/model.onnx
	agedetect draw demo/new_faces --count 12 --seed 2026
	agedetect-infer demo/new_faces --onnx demo/model.onnx
	@echo
	@echo "The column true is the age that each file's name begins with. See the run and the registered model with:"
	@echo "  .venv/bin/mlflow ui        then open http://127.0.0.1:5000"

DEMO_PARAMETERS = -P data_dir=demo/faces -P data_licence="drawn by agedetect: no restriction" \
	-P registered_model_name=agedetect-demo -P model_name=mobilenet_v2 -P weights=none -P image_size=64 \
	-P epochs=24 -P loss=soft_labels -P augment=flip,crop

# A team's night on drawn faces, in the store of this folder; again after a crash, it goes on. docs/nightly.md
nightly: .venv/ready
	test -d nightly/faces || (agedetect draw nightly/faces.new --count 600 && mv nightly/faces.new nightly/faces)
	test -d nightly/photos || (agedetect draw nightly/photos.new --count 12 --seed 2026 && mv nightly/photos.new nightly/photos)
	python examples/nightly.py nightly/faces nightly/photos --config examples/nightly.json --folder nightly/nights --first

# In two processes, a file in one of them; "python -m pytest FILE" where one looks into a failure. tests/conftest.py sorts
# the files, so that the longest is not the last. With more threads than cores, torch's wait for each other.
PYTEST = OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: .venv/ready
	$(PYTEST) -m "not external"

# Without the demo, the notebook and whole trainings: what to run while one writes code.
test-fast: .venv/ready
	$(PYTEST) -m "not slow and not external"

# What `make test` leaves out: other languages, Spark, a real browser and a shared server. Needs Node, Java 17 or later,
# Chromium and PostgreSQL.
test-external: .venv/ready
	python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[external]"
	OMP_NUM_THREADS=1 python -m pytest -m external

lint: .venv/ready
	ruff check .
	ruff format --check .
	mypy

# The tables of docs/performance.md, on a machine with nothing else to do; fewer images with, say,
# make bench BENCH="--part chips --chips 2000". See python -m benchmarks --help.
bench: .venv/ready
	python -m benchmarks $(BENCH)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache demo nightly bench

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "agedetect needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@
