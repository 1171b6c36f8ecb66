#!/usr/bin/env bash
# The inference node, with the launch arguments given; what is set of these variables is one of that name, too.
set -euo pipefail
arguments=()
for name in CHECKPOINT NAMESPACE INSTRUCTION IMAGE_TOPIC IMAGE_TRANSPORT PRECISION DASHBOARD; do
  [ -z "${!name:-}" ] || arguments+=("${name,,}:=${!name}")
done
exec ros2 launch simple_clip_lstm_ros inference.launch.py guard:=external "$@" "${arguments[@]}"
