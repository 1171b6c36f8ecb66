#!/usr/bin/env bash
# Creates or updates an environment. Done in a moment when the interpreter and the requirements are those of the last time.
# VENV names it (default: .venv) and PYTHON the interpreter (python3); on a machine without a ROS 2 of its own CONSTRAINTS
# names the versions (requirements/constraints-newest.txt) and EXTRAS what of setup.py's extras is wanted.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
constraints=${CONSTRAINTS:-requirements/constraints-newest.txt}
extras=${EXTRAS:-ros,test,all,int8}
fail() {
  echo "scripts/make_venv.sh: $*" >&2
  exit 1
}

# An environment made from inside another would miss that one's packages: ask for the interpreter below it.
below='import os, sys; print(os.path.realpath(sys._base_executable))'
python=$("${PYTHON:-python3}" -c "$below") || fail "no Python 3: install it or set PYTHON"
found="$(uname -sm), Python $("$python" -c 'import platform; print(platform.python_version())')"
if "$python" -c 'import rclpy' 2>/dev/null; then
  kind=robot
elif [ -n "${ROS_DISTRO:-}" ]; then
  fail "ROS 2 $ROS_DISTRO is sourced, but $python cannot import rclpy: set PYTHON=/usr/bin/python3"
elif [[ $found =~ ^Linux\ x86_64,\ Python\ 3\.1[0-3]\. ]]; then
  kind=wheels
else
  fail "no ROS 2 found: source one (/opt/ros/<distro>/setup.bash), or use Linux x86_64 with Python 3.10 to 3.13 (this is $found)"
fi

base="$kind $python $found $extras"
stamp="$base
$(cat setup.py "$constraints" scripts/make_venv.sh | cksum)"
before=$(cat "$venv/stamp" 2>/dev/null || true)
[ "$before" = "$stamp" ] && exit 0

echo "Setting up $venv; the first time takes some minutes, torch is large." >&2
options=()
[ "$kind" = wheels ] || options+=(--system-site-packages)
[ -z "$before" ] || [ "${before%%$'\n'*}" = "$base" ] || options+=(--clear)
"$python" -m venv "${options[@]}" "$venv"
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check)
if [ "$kind" = wheels ]; then
  "${pip[@]}" -c "$constraints" -e ".[$extras]"
else
  # The robot's torch knows its GPU and its NumPy is the one that its ROS was built for: pip must not replace them.
  "$python" -c 'from importlib.metadata import distributions as d
print(*{f"{x.name}=={x.version}" for x in d() if x.name in ("torch", "numpy")}, sep="\n")' >"$venv/own.txt"
  "${pip[@]}" -c "$venv/own.txt" -e '.[test,all]'
fi
echo "$stamp" >"$venv/stamp"
