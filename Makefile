# Everything runs in .venv, which scripts/make_venv.sh makes. `make demo ARGS=--help` shows the demo's options.
.PHONY: demo tiny-model test test-full test-rest test-oldest lint types docs unit integration colcon venv clean
.NOTPARALLEL:

PYTHON_IN_VENV := .venv/bin/python
# The ROS wheels live in .venv; where a ROS 2 is sourced, this names it already.
export AMENT_PREFIX_PATH ?= $(CURDIR)/.venv
# .colcon keeps the build out of sight; --paths keeps colcon from searching .venv.
COLCON := $(PYTHON_IN_VENV) -m colcon --log-base .colcon/log
# Tests that start no node and take no time. Those that measure, or inject faults, have the machine for themselves.
UNIT := not ros and not slow and not serial and not full
INTEGRATION := (ros or slow) and not serial and not full
# A file's tests share a node: they stay together. The order is that of test/conftest.py, the slowest first.
TWO := -n 2 --dist loadfile --no-loadscope-reorder
TINY_MODEL := simple_clip_lstm_ros/models/tiny
BASES := --build-base .colcon/build --install-base .colcon/install

demo: venv
	.venv/bin/simple_clip_lstm demo $(ARGS)

# The bundle that ships with the package, anew from nothing.
tiny-model: venv
	rm -rf $(TINY_MODEL)
	$(PYTHON_IN_VENV) scripts/train_tiny_model.py --seed 0 --out $(TINY_MODEL)

# colcon runs the unit tests. pytest comes last, so that its closing line closes the output.
test: lint types colcon integration

test-full: test test-rest

# What `make test` leaves out: long tests, and the properties once more with all their examples.
test-rest: export HYPOTHESIS_PROFILE := full
test-rest: venv
	$(PYTHON_IN_VENV) -m pytest -m "full and serial"
	$(PYTHON_IN_VENV) -m pytest $(TWO) -m "(full or hypothesis) and not serial"

# The oldest set that is supported. Its torch comes with CUDA: 5 GB of disk. torchao wants a newer one.
test-oldest: export AMENT_PREFIX_PATH := $(if $(ROS_DISTRO),$(AMENT_PREFIX_PATH),$(CURDIR)/.venv-oldest)
test-oldest:
	@VENV=.venv-oldest CONSTRAINTS=requirements/constraints-oldest.txt EXTRAS=ros,test,all PYTHON=$${PYTHON:-python3.10} scripts/make_venv.sh
	.venv-oldest/bin/python -m pytest -m serial
	.venv-oldest/bin/python -m pytest $(TWO) -m "not serial"

lint: venv
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON_IN_VENV) -m pre_commit run --all-files

types: venv
	$(PYTHON_IN_VENV) -m mypy

docs: venv
	$(PYTHON_IN_VENV) scripts/write_errors_doc.py > docs/errors.md
	$(PYTHON_IN_VENV) -m mkdocs build --strict

unit: venv
	$(PYTHON_IN_VENV) -m pytest $(TWO) -m "$(UNIT)"

integration: venv
	$(PYTHON_IN_VENV) -m pytest -m "serial and not full"
	$(PYTHON_IN_VENV) -m pytest $(TWO) -m "$(INTEGRATION)"

colcon: venv
	$(COLCON) list --paths . | grep -F '(ros.ament_python)'
	$(COLCON) build --paths . $(BASES)
	$(COLCON) test --paths . $(BASES) --event-handlers console_direct+ --return-code-on-test-failure --pytest-args $(TWO) -m "$(UNIT)"
	$(COLCON) test-result --test-result-base .colcon/build

venv:
	@scripts/make_venv.sh

clean:
	rm -rf .colcon build site *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find simple_clip_lstm_ros test launch -name __pycache__ -exec rm -rf {} +
