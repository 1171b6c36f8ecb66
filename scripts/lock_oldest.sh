#!/usr/bin/env bash
# Writes requirements/constraints-oldest.txt: what setup.py's lower bounds come to on Python 3.10, with the ROS and the
# tools of requirements/constraints-newest.txt. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=requirements/constraints-oldest.txt
tools='^(ros-|check-json|colcon|hadolint|mcap|mkdocs|mypy|execnet|playwright|pre-commit|pytest|ruff|shellcheck|types-)'
{
  echo "# The oldest versions that this package works with, those of a Jetson's image; made by scripts/lock_oldest.sh."
  uv pip compile --quiet --python-version 3.10 --resolution lowest-direct --no-annotate --no-header --no-emit-package \
    simple-clip-lstm-ros -c <(grep -E "$tools" requirements/constraints-newest.txt) - <<<'.[ros,all,test]'
} >"$oldest.new"
mv "$oldest.new" "$oldest"
