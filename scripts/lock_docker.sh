#!/usr/bin/env bash
# Writes requirements/docker-*.txt, the Python libraries of the images: those of requirements/constraints-oldest.txt for
# Humble, those of requirements/constraints-newest.txt with the NumPy that Jazzy's messages are built for.
# Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."

lock() { # ROS distribution, Python, then options of uv
  local distribution=$1 python=$2
  shift 2
  {
    echo "# Python libraries of the images with ROS 2 ${distribution^}, PyTorch aside; made by scripts/lock_docker.sh."
    uv pip compile --quiet --python-version "$python" --no-annotate --no-header "$@" --no-emit-package \
      simple-clip-lstm-ros - <<<'.[all]' | grep -Ev '^(torch|triton|nvidia-|cuda-|setuptools)'
  } >"requirements/docker-$distribution.txt"
}
lock humble 3.10 -c <(grep -v '^psutil==' requirements/constraints-oldest.txt) # its old ones have no wheel for a Jetson
lock jazzy 3.12 -c <(grep -Ev '^(numpy|opencv|ros-)' requirements/constraints-newest.txt) --override <(echo 'numpy==1.26.4')
