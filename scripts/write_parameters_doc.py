#!/usr/bin/env python3
"""Prints the tables of docs/parameters.md, from the parameters' declarations (in .venv)."""

from simple_clip_lstm_ros.node.bag_settings import BagSettings
from simple_clip_lstm_ros.node.dashboard_settings import DashboardSettings
from simple_clip_lstm_ros.node.guard_settings import GuardSettings
from simple_clip_lstm_ros.node.motion_settings import MotionSettings
from simple_clip_lstm_ros.node.parameters import table
from simple_clip_lstm_ros.node.player_settings import PlayerSettings
from simple_clip_lstm_ros.node.settings import Settings

print("Of both nodes:\n", table(MotionSettings), sep="\n")
print("\nOf the inference node:\n", table(Settings, beyond=MotionSettings), sep="\n")
print("\nOf the guard:\n", table(GuardSettings, beyond=MotionSettings), sep="\n")
print("\nOf the dashboard:\n", table(DashboardSettings), sep="\n")
print("\nOf the recorder (`record.launch.py`):\n", table(BagSettings), sep="\n")
print("\nOf the player (`replay.launch.py`):\n", table(PlayerSettings), sep="\n")
