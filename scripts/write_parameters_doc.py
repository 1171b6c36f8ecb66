#!/usr/bin/env python3
"""Prints the tables of docs/parameters.md, from the parameters' declarations (in .venv)."""

from simple_clip_lstm_ros.dashboard.dashboard_node import DashboardParameters
from simple_clip_lstm_ros.harness.bag_player import PlayerParameters
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.recording.bag_recorder import RecorderParameters
from simple_clip_lstm_ros.ros.motion_parameters import GuardParameters, MotionParameters
from simple_clip_lstm_ros.ros.parameters import to_markdown

print("Of both nodes:\n", to_markdown(MotionParameters), sep="\n")
print("\nOf the inference node:\n", to_markdown(InferenceParameters, beyond=MotionParameters), sep="\n")
print("\nOf the guard:\n", to_markdown(GuardParameters, beyond=MotionParameters), sep="\n")
print("\nOf the dashboard:\n", to_markdown(DashboardParameters), sep="\n")
print("\nOf the recorder (`record.launch.py`):\n", to_markdown(RecorderParameters), sep="\n")
print("\nOf the player (`replay.launch.py`):\n", to_markdown(PlayerParameters), sep="\n")
