# make demo   play the sample recording into the node; pictures, an mcap and a table
# make test   run the tests
# make lint   run the linters of a ROS package, ruff and mypy
# make bench  run the benchmarks, half an hour or so: tables, and JSON and a plot in RESULTS
#
# make demo first makes an environment of its own, of 600 MB; what the others need as well, torch
# above all, takes a few minutes more and several GB once.
#
# BAG=FILE OUTPUT=FOLDER   what the demo plays, and where it writes
# RESULTS=FOLDER           where the benchmarks write
# TESTS='test/ros -x'      what is tested, and options of pytest
# PYTHON=python3.12        the interpreter to make the environment with
# VENV=.venv               where the environment lies
# TORCH_INDEX_URL=URL      another package index for torch, such as one of its smaller CPU builds

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo_output
RESULTS ?= benchmark_results
BAG ?=
TESTS ?=
TORCH_INDEX_URL ?=

python := $(VENV)/bin/python
log := $(VENV)/install.log
code := adabins_ros launch test setup.py

# A sourced ROS install would be mixed with the client library from pip.
unexport PYTHONPATH AMENT_PREFIX_PATH RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
export LD_LIBRARY_PATH := $(shell printf %s "$$LD_LIBRARY_PATH" | tr : '\n' | grep -v '/ros/' \
    | paste -sd : -)

.PHONY: help demo test lint bench environment FORCE
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.light
	@$(VENV)/bin/adabins demo --output '$(OUTPUT)' $(if $(BAG),--bag '$(BAG)')

# A process for each core, of one thread each: with more they would hold each other up.
test: environment
	@OMP_NUM_THREADS=1 $(python) -m pytest --numprocesses auto --dist loadgroup --timeout 300 --durations 25 $(TESTS)

linters := 'ruff check .' 'ruff format --check .' 'flake8 $(code)' \
    'pydocstyle --property-decorators none $(code)' mypy
lint: $(VENV)/.linters
	@status=0; for linter in $(linters); do \
	  echo "$$linter"; $(python) -m $$linter || status=1; \
	done; exit $$status

# Without those that want folders or hours, and what they share.
benchmarks := $(filter-out interleaved authors_order usual_way soak kill_moments metric_scale scan_errors,\
    $(basename $(notdir $(wildcard benchmarks/*.py))))
bench: environment
	@status=0; for name in $(benchmarks); do \
	  echo "$$name"; \
	  $(python) "benchmarks/$$name.py" --json '$(RESULTS)'/"$$name.json" || status=1; \
	done; exit $$status

environment: $(VENV)/.full

# Not there yet, or its interpreter has gone.
ifneq ($(shell $(python) -c 'print("runs")' 2>/dev/null),runs)
$(VENV)/.created: FORCE
endif
# Made for another folder: the scripts and the link to the sources lead there.
ifneq ($(shell cat $(VENV)/.light 2>/dev/null),$(CURDIR))
$(VENV)/.light: FORCE
endif

stop = { echo "make: $(1)" >&2; exit 1; }

$(VENV)/.created:
	@command -v '$(PYTHON)' >/dev/null || $(call stop,there is no $(PYTHON); install Python 3.10 \
	or newer$(comma) or name one with PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || $(call stop,$(PYTHON) is \
	$$($(PYTHON) --version 2>&1)$(comma) and Python 3.10 or newer is needed: name one with \
	PYTHON=/path/to/python3)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call stop,$(PYTHON) cannot make \
	virtual environments; on Debian and Ubuntu run: sudo apt install python3-venv)
	@rm -rf '$(VENV)'
	$(call begin,Making the environment $(VENV))
	@$(PYTHON) -m venv '$(VENV)' || if $(disk_full); then $(call stop,$(full)); else \
	$(call stop,the environment $(VENV) could not be made: see the message above); fi
	$(end)
	@touch $@

# The node and the demo: no torch.
$(VENV)/.light: $(VENV)/.created setup.py
	$(call begin,Installing adabins_ros with the ROS 2 client library)
	$(call pip_install,--no-compile --editable '.[ros]')
	$(end)
	@printf %s '$(CURDIR)' > $@

# torch and torchvision together and first: each release of one fits one release of the other.
$(VENV)/.torch: $(VENV)/.light
	$(call begin,Installing torch)
	$(call pip_install,$(if $(TORCH_INDEX_URL),--index-url '$(TORCH_INDEX_URL)') torch torchvision)
	$(end)
	@touch $@

$(VENV)/.full: $(VENV)/.torch
	$(call begin,Installing what training and tests need)
	$(call pip_install,--editable '.[ros$(comma)train$(comma)openvino$(comma)test]')
	$(end)
	@touch $@

$(VENV)/.linters: $(VENV)/.full
	$(call begin,Installing the linters)
	$(call pip_install,--editable '.[lint]')
	$(end)
	@touch $@

comma := ,

# One line for each step: a dot for each package that pip has found, and the time at the end.
began = $(VENV)/.began
begin = @mkdir -p '$(VENV)'; date +%s > '$(began)'; printf '%s ' '$(1)'
end = @echo " $$(($$(date +%s) - $$(cat '$(began)'))) s"

define pip_install
@rm -f '$(log)'; { $(python) -m pip install --disable-pip-version-check --progress-bar off \
  --log '$(log)' $(1) 2>'$(VENV)/.errors'; echo $$? >'$(VENV)/.status'; } \
| awk '/^ *Collecting/ { printf "."; fflush() }'; \
test "$$(cat '$(VENV)/.status')" = 0 || { echo; cat '$(VENV)/.errors' >&2; \
if $(disk_full); then \
  $(call stop,$(full)); \
elif grep -qsE '$(unreachable)' '$(log)'; then \
  $(call stop,the package index could not be reached: check the network or the proxy$(comma) then \
  call make again); \
elif grep -qs 'No matching distribution found for ros-' '$(log)'; then \
  $(call stop,the ROS client library from pip is for Linux on x86_64 and Python 3.10 to 3.14: \
  elsewhere use a ROS install (README)); \
else \
  $(call stop,pip failed; its messages are above and in $(log)); \
fi; }
endef
disk_full = grep -qs 'No space left on device' '$(log)' \
    || test "$$(df -Pk '$(VENV)' | awk 'NR == 2 {print $$4}')" -lt 100000
full = the disk of $(VENV) or of $${TMPDIR:-/tmp} is full: the environment takes 0.6 GB for make \
    demo and about 7 GB for make test$(comma) and as much again while it is installed
unreachable := NewConnectionError|ConnectTimeout|NameResolutionError|ReadTimeout|ProxyError$\
|Network is unreachable|Temporary failure in name resolution|Max retries exceeded
