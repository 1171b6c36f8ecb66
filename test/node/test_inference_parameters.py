"""The parameters: what is declared, what is documented, and which values are refused before anything is loaded."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.dashboard.dashboard_node import DashboardParameters
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.node import inference_parameters
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.ros import parameters
from simple_clip_lstm_ros.ros.motion_parameters import GuardParameters

FILE = Path(__file__).parents[2] / "config" / "inference.yaml"


class Parameters:
    """What of a node declares and holds parameters."""

    def __init__(self, kind=InferenceParameters, **given):
        self.values = {}
        self.descriptors = {}
        parameters.declare_parameters(self, kind, read_only=kind is GuardParameters)
        self.values |= given

    def declare_parameter(self, name, value, descriptor):
        self.values[name] = value
        self.descriptors[name] = descriptor

    def get_parameter(self, name):
        return SimpleNamespace(value=self.values[name])


def test_the_parameter_file_states_every_parameter_at_its_default():
    stated = yaml.safe_load(FILE.read_text())["/**"]["ros__parameters"]
    declared = Parameters(DashboardParameters).values | Parameters(GuardParameters).values | Parameters().values
    declared = {name: value for name, value in declared.items() if value is not None}
    assert stated == {name: list(value) if isinstance(value, tuple) else value for name, value in declared.items()}


def test_the_parameter_file_names_those_without_a_default_in_comments():
    unset = {name for name, value in Parameters().values.items() if value is None}
    assert unset == {"action_axes", "action_scale", "action_offset"}
    commented = yaml.safe_load(
        "\n".join(line.strip(" #") for line in FILE.read_text().splitlines() if "# action_" in line)
    )
    assert set(commented) == unset


def test_what_the_dashboard_shares_with_the_node_has_the_same_default():
    ours, shown = Parameters(), Parameters(DashboardParameters)
    shared = ours.values.keys() & shown.values.keys()
    assert shared == {"image_topic", "image_transport", "enable_stamped_cmd_vel"}
    assert all(ours.values[name] == shown.values[name] for name in shared)


def test_what_both_nodes_have_is_the_same_in_both():
    """One file and one launch argument set both."""
    ours, guards = Parameters(), Parameters(GuardParameters)
    for name in ours.values.keys() & guards.values.keys():
        assert ours.values[name] == guards.values[name]
        assert ours.descriptors[name].description == guards.descriptors[name].description
    assert ours.values.keys() & guards.values.keys() >= {item.name for item in fields(Limits)}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"port": 0}, "port must be above 0"),
        ({"port": 65536}, "at most 65535"),
        ({"port": 80.5}, "port: 80.5 is not a int"),
        ({"port": True}, "port: True is not a int"),
        ({"token": "short"}, "16 ASCII characters or more"),
        ({"token": "ä" * 20}, "16 ASCII characters or more"),
        ({"image_topic": "a b"}, "image_topic"),
        ({"image_transport": "theora"}, "not one of raw, compressed"),
    ],
)
def test_what_the_dashboard_refuses(given, why):
    with pytest.raises(ConfigError, match=re.escape(why)):
        parameters.read_parameters(Parameters(DashboardParameters, **given), DashboardParameters)


@pytest.mark.parametrize("kind", [InferenceParameters, GuardParameters, DashboardParameters])
def test_every_parameter_is_described(kind):
    descriptions = {name: d.description for name, d in Parameters(kind).descriptors.items()}
    assert all(descriptions.values())
    assert len(set(descriptions.values())) == len(descriptions)


def test_values_are_read_in_the_types_of_the_settings():
    read = inference_parameters.read_parameters(
        Parameters(checkpoint="a.pth", command_rate=20, max_velocity=[1, 0, 0.5])
    )
    assert (read.checkpoint, read.command_rate, read.max_velocity) == ("a.pth", 20.0, (1.0, 0.0, 0.5))
    assert isinstance(read.command_rate, float)
    assert read.limits.max_velocity == (1.0, 0.0, 0.5)
    assert read.action_overrides == {}


def test_a_path_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/rosa")
    assert inference_parameters.read_parameters(Parameters(checkpoint="~/a.pth")).checkpoint == "/home/rosa/a.pth"


def test_what_is_said_of_the_actions_overrides_the_checkpoint():
    read = inference_parameters.read_parameters(
        Parameters(checkpoint="a.pth", action_axes=["linear.x", "linear.y"], action_scale=[2, 0.5])
    )
    assert read.action_overrides == {"action_axes": ["linear.x", "linear.y"], "action_scale": [2.0, 0.5]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint", 7),
        ("checkpoint", ["a.pth"]),
        ("command_rate", "20"),
        ("command_rate", True),
        ("command_rate", [20.0]),
        ("max_velocity", 0.3),
        ("max_velocity", [0.3, "fast", 0.8]),
        ("max_velocity", [True, True, True]),
        ("allow_untrained", "yes"),
        ("allow_untrained", 1),
        ("action_axes", "linear.x"),
        ("action_axes", [1, 2]),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}: .* is not a "):
        inference_parameters.read_parameters(Parameters(**{"checkpoint": "a.pth", name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint", ""),
        ("precision", "fp8"),
        ("engine", ""),
        ("image_transport", "theora"),
        ("image_topic", "front camera"),
        ("command_rate", 0.0),
        ("command_rate", -20.0),
        ("command_rate", 1e6),
        ("command_rate", math.nan),
        ("state_timeout", 0.0),
        ("state_timeout", math.inf),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name):
        InferenceParameters(**{"checkpoint": "a.pth", name: value})


def test_limits_of_the_wrong_sign_are_refused_by_name():
    with pytest.raises(ConfigError, match="max_decel"):
        _ = InferenceParameters(checkpoint="a.pth", max_decel=(1.5, 1.5, 3.0)).limits


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (InferenceParameters, "image_timeout", 0.0),
        (InferenceParameters, "command_timeout", 61.0),
        (GuardParameters, "guard_timeout", 0.0),
        (GuardParameters, "guard_timeout", math.nan),
        (GuardParameters, "max_velocity", (0.3, -0.3, 0.8)),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name_with_the_range(kind, name, value):
    with pytest.raises(ConfigError, match=rf"^{name} must be .*(above|positive)"):
        kind(**({"checkpoint": "a.pth"} if kind is InferenceParameters else {}) | {name: value})


def test_what_may_change_while_driving_is_what_a_person_tunes():
    live = {name for kind in (InferenceParameters, GuardParameters) for name in _live(kind)}
    timeouts = {"image_timeout", "command_timeout", "state_timeout", "guard_timeout"}
    assert live == {item.name for item in fields(Limits)} | timeouts | {"instruction"}


def _live(kind):
    return [item.name for item in fields(kind) if not _is_refused(kind, item.name)]


def _is_refused(kind, name):
    try:
        return not parameters.check_live(kind, [SimpleNamespace(name=name)])
    except ConfigError as error:
        assert str(error).startswith(f"{name} takes effect at configure")
        return True


def test_others_parameters_are_not_ours_to_refuse():
    assert not parameters.check_live(InferenceParameters, [SimpleNamespace(name="use_sim_time")])


def test_the_guard_has_no_second_start_so_what_is_not_live_is_read_only():
    descriptors = Parameters(GuardParameters).descriptors
    assert {name for name, d in descriptors.items() if not d.read_only} == set(_live(GuardParameters))
    assert not any(d.read_only for d in Parameters().descriptors.values())
