# Entry points. Each creates the environment (.venv) if it is missing; none needs it activated.
PYTHON ?= python3
NUMBERS ?= gta5-\w+\.dacs\.miou
# Packages that not everyone needs, each from a lock file of its own: .venv/gpu, installed where there is a driver of
# NVIDIA, and .venv/dev, those of the tests. `make .venv/gpu` installs them elsewhere, as on the login node of a cluster.
READY := .venv/ready $(if $(shell command -v nvidia-smi 2> /dev/null),.venv/gpu)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE # or each process would compile all modules anew

# What is printed after an interruption, as the command that resumes.
demo photos page: export DACS_COMMAND = make $@

AUDIT_SERVER := https://api.osv.dev
AUDIT := uv tool run --quiet pip-audit==2.10.1 -s osv --disable-pip --require-hashes

.PHONY: demo photos page test test-slow lint audit torture test-slurm test-s3 test-container experiments clean

demo: $(READY)  ## the environment, then the whole pipeline on the built-in world
	snakemake --cores all --rerun-incomplete all
	@echo "Done. Open $(CURDIR)/reports/index.html in a browser."

photos: $(READY)  ## the same with real photographs as target: CamVid, 182 MB, once its terms are accepted
	snakemake --cores all --rerun-incomplete all --config scale=photos
	@cp reports/index.html reports/photos.html
	@echo "Done. Open $(CURDIR)/reports/photos.html in a browser."

page: $(READY)  ## the page with commit, changed parameters, machine and times of jobs, to be sent to others
	snakemake --cores 1 --forcerun page -- page
	@echo "Done: $(CURDIR)/reports/page.html"

test: lint  ## lint, types, contracts, and all tests but the slow ones, one module a core
	pytest -n auto --maxprocesses 4 --dist loadscope -m "not slow and not slurm and not s3 and not container"

lint: $(READY) .venv/dev  ## of which ruff's rules S, those of bandit, look for security faults
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint
	codespell

audit: $(READY)  ## known vulnerabilities in the versions of all lock files; needs the network
	@python -c "import requests; requests.get('$(AUDIT_SERVER)', timeout=10)" 2> /dev/null \
	|| { echo "Not audited: $(AUDIT_SERVER), which lists vulnerabilities, cannot be reached."; exit 1; }
	$(AUDIT) -r requirements.lock -r requirements-dev.lock -r requirements-gpu.lock -r requirements-slurm.lock
	$(AUDIT) -r requirements-s3.lock

test-slow: $(READY) .venv/dev  ## the slow tests but for those of torture: branches, clones, experiments, campaigns
	pytest -m "slow and not faults"

torture: $(READY) .venv/dev  ## kills, damage, fuzz and full disks: a line for each, a table at the end, both in logs/torture.txt too
	pytest tests/faults --table logs/torture.txt

# The same environment with the plugins of Snakemake for clusters, in a separate folder.
test-slurm: .venv-slurm/ready  ## the pipeline on a Slurm of two nodes, which needs slurm-wlm, munge and root, and by a stand-in of kubectl
	PATH=$(CURDIR)/.venv-slurm/bin:$$PATH pytest -m slurm tests/test_slurm.py tests/test_kubernetes.py

# DVC with its part for S3, in a small environment of its own.
test-s3: .venv-s3/ready  ## push and pull by a server of S3 that the test starts
	PATH=$(CURDIR)/.venv-s3/bin:$$PATH pytest -m s3 tests/test_s3.py

test-container: $(READY) .venv/dev  ## the image, built in a root of debootstrap and run, which needs buildah, debootstrap and root
	pytest -m container -rs tests/test_container.py

# Without the hashes of dependencies and other numbers, for which DVC would leave out the parameters.
experiments: $(READY)  ## a number (NUMBERS, a pattern) and the changed parameters of all experiments, in 100 columns
	dvc exp show --only-changed --drop 'Created|(?!$(NUMBERS))[^.]+-[^.]+\.|Snakefile|requirements|(dacs|runs)$$|.+/'

clean:  ## removes everything generated, but not the environment and DVC's cache
	rm -rf data runs logs reports/figures reports/*.html .snakemake .cache
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find dacs tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Exactly the packages of the lock files, each checked against its hash. The marker is written last, so an interrupted
# installation is repeated; a changed lock file replaces only what differs.
.venv/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	test -f $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	awk '/^[^ #]/ {wanted = /^uv==/} wanted' requirements.lock > .venv/uv.lock
	python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.lock
	uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock \
	$(if $(wildcard .venv/gpu),requirements-gpu.lock) $(if $(wildcard .venv/dev),requirements-dev.lock)
	uv pip install --quiet --python .venv/bin/python --offline --no-deps --no-build-isolation --editable .
	python -m dacs.reporting.dvc_page .venv/plots.html
	-dvc config --quiet --local plots.html_template ../.venv/plots.html
	touch $@

.venv/gpu .venv/dev: .venv/%: requirements-%.lock .venv/ready
	uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps -r $<
	touch $@

.venv-slurm/ready: requirements.lock requirements-dev.lock requirements-slurm.lock $(READY)
	test -d .venv-slurm || uv venv --quiet --python .venv/bin/python .venv-slurm
	rm -f $@
	uv pip sync --quiet --python .venv-slurm/bin/python --require-hashes \
	requirements.lock requirements-dev.lock requirements-slurm.lock
	uv pip install --quiet --python .venv-slurm/bin/python --offline --no-deps --no-build-isolation --editable .
	touch $@

.venv-s3/ready: requirements-s3.lock $(READY) .venv/dev
	test -d .venv-s3 || uv venv --quiet --python .venv/bin/python .venv-s3
	rm -f $@
	uv pip sync --quiet --python .venv-s3/bin/python --require-hashes requirements-s3.lock
	touch $@
