"""replay.launch.py. Where `launch` is not installed (ROS from pip), small stand-ins take its place."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
from stand_ins import ROOT, Recorded, load

from simple_clip_lstm_ros.harness.bag_player import PlayerParameters

FILE = ROOT / "launch" / "replay.launch.py"


@pytest.fixture
def launch_file(monkeypatch):
    module = load(FILE, monkeypatch)
    for name in ("LaunchConfiguration", "PythonLaunchDescriptionSource"):
        monkeypatch.setattr(module, name, Recorded)
    monkeypatch.setattr(module, "IncludeLaunchDescription", lambda name, **given: Recorded(name, **given))
    monkeypatch.setattr(module, "Shutdown", Recorded)
    return module


def context(module, **given):
    usual = {name: default for name, (default, *_) in (module.PARAMETERS | module.OPTIONS).items()}
    return SimpleNamespace(launch_configurations=usual | given, is_shutdown=False)


def test_player_and_node_are_alone_in_a_namespace(launch_file):
    given = {"bag": "2026", "rate": "2", "checkpoint": "builtin:tiny", "instruction": "go left"}
    player, included = launch_file.start(context(launch_file, **given))
    assert (player.executable, player.namespace) == ("bag_player", "replay")
    assert "bag_player = " in (ROOT / "setup.py").read_text()
    (told,) = player.parameters
    assert told["bag"] == "2026" and told["rate"] == 2.0 and told["instruction"] == "go left"
    inference = dict(included.launch_arguments)
    assert inference["namespace"] == "replay" and inference["use_sim_time"] == "true"
    assert inference["checkpoint"] == "builtin:tiny" and not inference["instruction"]
    assert included.name.name.endswith("inference.launch.py")


def test_it_passes_on_arguments_that_inference_launch_has(launch_file, monkeypatch):
    known = load(ROOT / "launch" / "inference.launch.py", monkeypatch)
    _, included = launch_file.start(context(launch_file))
    assert set(dict(included.launch_arguments)) <= {*known.PARAMETERS, *known.OPTIONS}


def test_its_parameters_are_the_players(launch_file):
    assert set(launch_file.PARAMETERS) == {item.name for item in fields(PlayerParameters)}


def test_the_end_of_the_recording_ends_the_launch_and_a_failure_fails_it(launch_file):
    (action,) = launch_file.ended(SimpleNamespace(returncode=0), context(launch_file))
    assert "played" in action.reason
    with pytest.raises(RuntimeError, match="exit code 1"):
        launch_file.ended(SimpleNamespace(returncode=1), context(launch_file))
