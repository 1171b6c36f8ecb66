"""record.launch.py. Where `launch` is not installed (ROS from pip), small stand-ins take its place."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
from stand_ins import ROOT, Recorded, load

from simple_clip_lstm_ros.recording.bag_recorder import RecorderParameters

FILE = ROOT / "launch" / "record.launch.py"


@pytest.fixture
def launch_file(monkeypatch):
    return load(FILE, monkeypatch)


def context(**given):
    return SimpleNamespace(launch_configurations={"namespace": "", "log_level": "info", **given}, is_shutdown=False)


def test_it_starts_the_recorder_with_what_it_was_told(launch_file, monkeypatch):
    monkeypatch.setattr(launch_file, "LaunchConfiguration", Recorded)
    (node,) = launch_file.start(context(namespace="robot1"))
    assert (node.package, node.executable, node.name) == ("simple_clip_lstm_ros", "bag_recorder", "recorder")
    assert node.namespace == "robot1" and "bag_recorder = " in (ROOT / "setup.py").read_text()
    given = {name: value for each in node.parameters for name, value in each.items()}
    assert set(given) == {"use_sim_time", *launch_file.PARAMETERS}
    assert given["folder"].value_type is str and given["last"].value_type is float


def test_its_parameters_are_the_recorders(launch_file):
    known = {item.name for item in fields(RecorderParameters)}
    assert set(launch_file.PARAMETERS) - {"use_sim_time"} <= known
    for name, (default, description, kind) in launch_file.PARAMETERS.items():
        assert description
        if name in known:
            kind(default)


def test_an_end_of_its_own_fails_the_launch(launch_file):
    with pytest.raises(RuntimeError, match="exit code 1"):
        launch_file.exited(SimpleNamespace(returncode=1), context())
