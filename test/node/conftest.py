"""Fixtures that start the inference node for real, each in a ROS domain of its own and on this machine alone."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path and leaves the tests' folders out
from inference_bench import Bench

_LOCAL = {"ROS_LOCALHOST_ONLY": "1"}  # Humble
if os.environ.get("ROS_DISTRO") != "humble":
    _LOCAL = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that no other run of these tests uses at the same time on this machine."""
    for domain in random.sample(range(1, 102), 101):
        with (Path(tempfile.gettempdir()) / f"simple_clip_lstm_test_domain_{domain}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return


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
        for name, value in _LOCAL.items():
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
