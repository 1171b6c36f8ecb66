"""The inference node as a process that cannot outlive the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil


class NodeProcess:
    """`python -m simple_clip_lstm_ros.node.inference_node`, killed after five minutes whatever happens."""

    def __init__(self, log: Path, domain: int, arguments: tuple[str, ...]) -> None:
        self._log = log
        command = ["timeout", "-s", "KILL", "300", sys.executable, "-m", "simple_clip_lstm_ros.node.inference_node"]
        environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
        root = Path(__file__).parents[2]
        with log.open("w") as stream:
            command += ["--ros-args", *arguments]
            self._process = subprocess.Popen(command, cwd=root, env=environment, stderr=stream)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, *signals: signal.Signals) -> int:
        """Send them to the node itself and not to `timeout`, unless it has ended already; the exit code."""
        if self.is_alive:
            (node,) = psutil.Process(self._process.pid).children()
            for number in signals:
                node.send_signal(number)
        return self._process.wait(10.0)
