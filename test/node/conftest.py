"""Fixtures that start the inference node for real, each in a ROS domain of its own and on this machine alone."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path and leaves the tests' folders out
from dashboard_bench import Puppet, free_port
from inference_bench import Bench
from recorded_robot import RecordedRobot
from ros_domain import LOCAL, own_domain

from simple_clip_lstm_ros.checkpoint import random_checkpoint, reference_configs
from simple_clip_lstm_ros.dashboard.web_server import WebServer


@pytest.fixture(scope="module")
def start(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bench]]:
    """Starts a node on the tiny checkpoint with a bench around it; each must end with exit code 0."""
    benches: list[Bench] = []

    def start(*arguments: str, parameters: dict[str, Any] | None = None, **options: Any) -> Bench:
        basic = {"checkpoint": str(tiny), "allow_untrained": True, "device": "cpu"}
        log = tmp_path_factory.mktemp("node") / "log"
        domain = cleanup.enter_context(own_domain())
        benches.append(Bench(log, domain, basic | (parameters or {}), arguments, **options))
        return benches[-1]

    with ExitStack() as cleanup:
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        for name, value in LOCAL.items():
            patch.setenv(name, value)
        yield start
        exit_codes = {bench.process.end(signal.SIGTERM) for bench in benches}
        for bench in benches:
            bench.close()
    assert exit_codes == {0}


@pytest.fixture(scope="module")
def shared() -> list[Bench]:
    return []


@pytest.fixture
def bench(start: Callable[..., Bench], shared: list[Bench]) -> Bench:
    """A running, unconfigured node; the tests of a module share it, unless one has ended it."""
    if not shared or not shared[-1].process.is_alive:
        shared.append(start())
    shared[-1].rest()
    return shared[-1]


@pytest.fixture
def recorded_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RecordedRobot]]:
    """Starts a recorder into `tmp_path` with these words, and a robot that it listens to."""
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as cleanup:

        def start(*words: str, **options: Any) -> RecordedRobot:
            started = RecordedRobot(cleanup.enter_context(own_domain()), tmp_path, words, **options)
            cleanup.callback(started.close)
            return started

        yield start


@pytest.fixture
def figures() -> Callable[..., dict[str, Any]]:
    """Runs a script of benchmarks/ with these words, in a ROS domain of its own; the JSON document that it prints."""

    def run(script: str, *words: str) -> dict[str, Any]:
        root = Path(__file__).parents[2]
        command = ["timeout", "-s", "KILL", "150", sys.executable, str(root / "benchmarks" / script), *words, "--json"]
        with own_domain() as domain:
            own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "ROS_DOMAIN_ID": str(domain)}
            ran = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.fixture
def deep(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Parameters of a checkpoint that takes seconds to load."""
    profile = reference_configs.REFERENCE_CONFIGS["tiny"]
    text = profile.kosmos["text_config"] | {"layers": 120}
    monkeypatch.setitem(
        reference_configs.REFERENCE_CONFIGS,
        "deep",
        dataclasses.replace(profile, kosmos=profile.kosmos | {"text_config": text}),
    )
    random_checkpoint.write_random_checkpoint("deep", tmp_path / "deep.pth")
    return {"checkpoint": str(tmp_path / "deep.pth"), "processors": f"{tiny}.processors"}


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def serve(puppet: Puppet) -> Iterator[Callable[..., WebServer]]:
    servers: list[WebServer] = []

    def serve(host: str = "127.0.0.1", token: str = "", port: int = 0) -> WebServer:
        servers.append(WebServer(puppet, host, port or free_port(), token))
        return servers[-1]

    yield serve
    for each in servers:
        each.stop()
