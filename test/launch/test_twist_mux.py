"""The example for teleoperation: it fits our topics, and whoever holds the joystick wins."""

from pathlib import Path

import yaml

FILE = Path(__file__).parents[2] / "config" / "twist_mux.yaml"


def test_teleoperation_wins_over_the_guards_output_and_a_stop_over_both():
    parameters = yaml.safe_load(FILE.read_text())["twist_mux"]["ros__parameters"]
    policy, teleoperation = parameters["topics"]["policy"], parameters["topics"]["teleoperation"]
    assert policy["topic"] == "cmd_vel" and policy["timeout"] > 0.0
    assert parameters["locks"]["stop"]["priority"] > teleoperation["priority"] > policy["priority"]
