"""A recording through the real node in simulated time: it commands what the replay on the desk commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rclpy
from process_groups import kill_group
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_domain import LOCAL, own_domain
from transitions import bring_up
from warm_python import WarmPython

pytest.importorskip("rosbags")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # where the bags are made
from bag import EPOCH, compressed, text, twist, write_bag

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import World

pytestmark = pytest.mark.ros
NAMESPACE = "/replay"


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Four seconds of a robot that stands before the boxes and is told where to go."""
    world = World(sample_layout(SCENARIOS[0], FIRST_SEED + 900))
    happened = [(0.0, "/instruction", text(world.layout.scenario.instruction))]
    for number in range(40):
        shown = compressed(world.frame(), EPOCH + number / 10)
        happened += [(number / 10, "/image_raw/compressed", shown), (number / 10, "/cmd_vel_raw", twist(0.1))]
    return write_bag(tmp_path / "bag", happened)


@pytest.fixture
def start(warm_python: WarmPython) -> Iterator[Callable[..., subprocess.Popen]]:
    with ExitStack() as cleanup:
        domain = cleanup.enter_context(own_domain())
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}

        def start(name: str, *words: str) -> subprocess.Popen:
            command = ["-m", f"simple_clip_lstm_ros.{name}", "--ros-args", "-r", f"__ns:={NAMESPACE}", *words]
            process = warm_python.start(command, limit=60, env=environment, stderr=subprocess.PIPE, text=True)
            cleanup.callback(kill_group, process)
            return process

        start.domain = domain
        yield start


def activate(domain: int) -> None:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("starter", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    bring_up(node, executor, NAMESPACE)
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_the_real_node_commands_what_the_replay_does(start, bag, tmp_path, monkeypatch):
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    words = [
        "-p",
        f"checkpoint:={resolve_path('builtin:tiny')}",
        "-p",
        "use_sim_time:=true",
        "-r",
        "cmd_vel:=cmd_vel_raw",
    ]
    start("node.inference_node", *words)
    activate(start.domain)
    player = start("harness.bag_player", "-p", f"bag:={bag}", "-p", f"out:={tmp_path / 'live'}")
    _, told = player.communicate(timeout=50)
    assert player.returncode == 0, told
    live = json.loads((tmp_path / "live" / "replay.json").read_text())
    assert live["reasons"]["replayed"]["MOVING"]["seconds"] > 3.0
    assert {path.name for path in (tmp_path / "live").iterdir()} == {
        *("commands.png", "frames.png", "drive.mp4", "replay.json")
    }
    assert main(["replay", str(bag), "--checkpoint", "builtin:tiny", "--out", str(tmp_path / "desk"), "--json"]) == 0
    desk = json.loads((tmp_path / "desk" / "replay.json").read_text())
    assert set(live["differences"]) == set(desk["differences"])
    for axis, apart in desk["differences"].items():
        assert live["differences"][axis]["mean"] == pytest.approx(apart["mean"], abs=0.05), (live, desk)


def test_a_bag_that_cannot_be_played_ends_it_in_one_line(start, tmp_path):
    player = start("harness.bag_player", "-p", f"bag:={tmp_path}")
    _, told = player.communicate(timeout=50)
    assert player.returncode == 1 and told.startswith("error: ") and len(told.strip().splitlines()) == 1
