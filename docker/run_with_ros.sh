#!/usr/bin/env bash
# ROS 2, this package and its Python libraries; then the command.
set -e
# shellcheck disable=SC1090  # of whatever distribution the image has
source "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck disable=SC1091
source /opt/simple_clip_lstm_ros/local_setup.bash
export PYTHONPATH="/opt/python:$PYTHONPATH"
export PATH="/opt/simple_clip_lstm_ros/lib/simple_clip_lstm_ros:$PATH"
exec "$@"
