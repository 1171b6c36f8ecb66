#!/usr/bin/env bash
# install_python.sh FOLDER REQUIREMENTS [BACKEND]: the Python libraries into FOLDER, for PYTHONPATH. What the image has of
# torch, NumPy and OpenCV stays as it is: it knows the GPU, or ROS was built for it. BACKEND (cpu, cu130, ...) is of a
# PyTorch to install where there is none.
set -euo pipefail
folder=$1 requirements=$2 backend=${3:-}
python=${PYTHON:-python3}
torch="torch==2.13.0"

has() { "$python" -c "import $1" 2>/dev/null; }
own=(-e '^#')
! has numpy || own+=(-e '^numpy==')
! has cv2 || own+=(-e '^opencv-')
grep -v "${own[@]}" "$requirements" >/tmp/requirements.txt
"$python" -m pip install --quiet --no-cache-dir --no-deps --target "$folder" -r /tmp/requirements.txt
export PYTHONPATH="$folder"
if ! has torch; then
  [ -n "$backend" ] || {
    echo "install_python.sh: the base image has no PyTorch that imports; name another BASE_IMAGE" >&2
    exit 1
  }
  "$python" -m pip install --quiet --no-cache-dir --target /tmp/uv uv==0.13.9
  /tmp/uv/bin/uv pip install --quiet --no-cache --python "$(command -v "$python")" --target "$folder" \
    --torch-backend "$backend" "$torch"
fi
rm -rf /tmp/uv /tmp/requirements.txt
