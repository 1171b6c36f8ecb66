#!/usr/bin/env bash
# run_simple_clip_lstm_inference.sh CHECKPOINT: looks whether this machine can drive by that checkpoint or bundle, says in
# one line what is wrong, else starts guard and inference node in their containers and returns.
#   MACHINE            jetson, cuda or cpu; else what this one is
#   BASE_IMAGE         another image to build on
#   INSTRUCTION NAMESPACE IMAGE_TOPIC IMAGE_TRANSPORT PRECISION DASHBOARD   launch arguments
#   PARAMS_FILE        parameters of both nodes, in place of config/inference.yaml
#   CAMERA             a device that must be there, as /dev/video0
#   ROS_DOMAIN_ID RMW_IMPLEMENTATION   as on the robot
set -euo pipefail

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}
[ $# -eq 1 ] || fail "name one CHECKPOINT, a .pth file or a bundle: $(basename "$0") \$HOME/models/model-bf16"
[ -e "$1" ] || fail "there is no checkpoint $1"
checkpoint=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
least=${LEAST_DISK_GB:-2} # for logs; the first build takes some 15

find_machine() {
  if [ -e /etc/nv_tegra_release ]; then
    echo jetson
  elif command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    echo cuda
  else
    echo cpu
  fi
}
machine=${MACHINE:-$(find_machine)}
case $machine in
jetson | cuda | cpu) ;;
*) fail "MACHINE is jetson, cuda or cpu, not $machine" ;;
esac

domain=${ROS_DOMAIN_ID:-0}
if ! [[ $domain =~ ^[0-9]{1,3}$ ]] || ((10#$domain > 101)); then
  fail "ROS_DOMAIN_ID is '$domain': set a number from 0 to 101, that of the robot"
fi
rmw=${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}
[ "$rmw" = rmw_fastrtps_cpp ] || fail "RMW_IMPLEMENTATION is $rmw and the images have rmw_fastrtps_cpp: set that one on the robot, too"
[ -z "${CAMERA:-}" ] || [ -c "$CAMERA" ] || fail "there is no camera $CAMERA: plug it in (ls /dev/video*), or unset CAMERA"
if [ -n "${PARAMS_FILE:-}" ]; then
  [ -f "$PARAMS_FILE" ] || fail "there is no PARAMS_FILE $PARAMS_FILE"
  PARAMS_FILE=$(realpath "$PARAMS_FILE")
  export PARAMS_FILE
fi

command -v docker >/dev/null || fail "docker is not installed: see docs.docker.com/engine/install"
docker info >/dev/null 2>&1 || fail "docker does not answer: start it (sudo systemctl start docker), and join its group (sudo usermod -aG docker ${USER:-YOU})"
docker compose version >/dev/null 2>&1 || fail "docker has no compose: install docker-compose-plugin"
if [ "$machine" != cpu ] && ! docker info --format '{{json .Runtimes}}' | grep -q '"nvidia"'; then
  fail "docker has no NVIDIA runtime: install nvidia-container-toolkit, then sudo nvidia-ctk runtime configure && sudo systemctl restart docker"
fi
free=$(($(df --output=avail -k "$(docker info --format '{{.DockerRootDir}}')" | tail -1) / 1000000))
((free >= least)) || fail "$free GB are free on the disk of docker, $least are needed: docker system prune, or make room"

export CHECKPOINTS CHECKPOINT ROBOT_USER RENDER_GROUP ROS_DOMAIN_ID=$domain RMW_IMPLEMENTATION=$rmw
CHECKPOINTS=$(dirname "$checkpoint")
CHECKPOINT=$(basename "$checkpoint")
ROBOT_USER="$(id -u):$(id -g)"
RENDER_GROUP=$(getent group render | cut -d: -f3) || RENDER_GROUP=
compose=(docker compose --file "$here/compose.yaml" --profile "$machine")

# Where a base is named the image may be of another; if it is not, this takes a moment.
if [ -n "${BASE_IMAGE:-}" ] || ! docker image inspect "simple_clip_lstm_ros:$machine" >/dev/null 2>&1; then
  "${compose[@]}" build || fail "the image could not be built; what went wrong stands above"
fi
# What only the container knows: libraries and GPU, middleware, memory against the budget, checksums of the bundle.
budget=$(sed -n 's/^ *memory_budget_gb: *\([0-9.]*\).*/\1/p' "${PARAMS_FILE:-$here/../config/inference.yaml}" | tail -1)
options=(--memory-budget-gb "${budget:-0}")
[ -z "${PRECISION:-}" ] || options+=(--precision "$PRECISION")
"${compose[@]}" run --rm --no-deps "inference-$machine" simple_clip_lstm doctor "/checkpoints/$CHECKPOINT" "${options[@]}" ||
  fail "this machine is not fit to drive by $CHECKPOINT: what to do stands beside each ERROR above"
"${compose[@]}" up --detach --wait || fail "the node did not start: docker compose --file $here/compose.yaml logs inference-$machine"

cat <<TOLD
The robot drives by $CHECKPOINT as soon as it sees images, has an instruction, and is enabled.
  stop    ros2 service call /${NAMESPACE:+$NAMESPACE/}velocity_guard/enable std_srvs/srv/SetBool "{data: false}"
  log     docker compose --file $here/compose.yaml logs --follow inference-$machine
  end     docker compose --file $here/compose.yaml --profile $machine down
TOLD
