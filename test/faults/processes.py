"""The processes of a robot, each real, alone in its ROS domain, and to be killed, stopped and started again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from ros_domain import LOCAL
from warm_python import WarmPython

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_GUARD = ["-m", "simple_clip_lstm_ros.node.velocity_guard"]


class NoGroup(Exception):
    """This machine lets nobody limit a process's memory."""


def sweep() -> None:
    """Killed processes leave segments in shared memory, and hundreds of them make messages late by 0.3 s.

    Only while no robot is there: a process that has sent to a dead one would not reach the one in its place.
    """
    tool = shutil.which("fastdds", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if tool is not None:  # and in the wheels for Python 3.10 it lacks what it calls
        subprocess.run([tool, "shm", "clean"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


class Processes:
    """`inference`, `guard` and `camera`. Nothing outlives `close`, nor `lifetime` seconds."""

    def __init__(
        self, python: WarmPython, folder: Path, domain: int, checkpoint: Path, *, sim_time: bool, lifetime: int
    ) -> None:
        self._python = python
        self.folder = folder
        self._lifetime = lifetime
        self.environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
        self.environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
        parameters = {"checkpoint": checkpoint, "allow_untrained": True, "device": "cpu"}
        ros = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        clock = ["-p", "use_sim_time:=true"] if sim_time else []
        inference, camera = (folder / f"{name}.switch" for name in ("inference", "camera"))
        self._commands = {
            "guard": [*_GUARD, "--ros-args", *clock],
            "camera": [_HERE / "faulty_camera.py", camera, "--ros-args", *clock],
            "inference": [_HERE / "faulty_inference_node.py", inference, "--ros-args", "-r", "cmd_vel:=cmd_vel_raw"],
        }
        self._commands["inference"] += [*ros, *clock]
        self._groups: set[Path] = set()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> bool:
        """Unless it runs already."""
        if self.is_alive(name):
            return False
        environment = self.environment | (self._without_shared_memory() if name == "guard" else {})
        with self.log(name).open("a") as log:
            self._running[name] = self._python.start(
                self._commands[name], limit=self._lifetime, env=environment, stdout=log, stderr=log
            )
        return True

    def _without_shared_memory(self) -> dict[str, str]:
        """The guard's own profile as the launch file sets it, kept within this machine."""
        text = (_ROOT / "config" / "fastdds_guard.xml").read_text()
        within, found = re.subn(r"<!-- Within this machine only:\n(.*?)\n\s*-->", r"\1", text)
        assert found == 1
        profile = self.folder / "fastdds_guard.xml"
        profile.write_text(within)
        names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
        return dict.fromkeys(names, str(profile)) | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}

    def is_alive(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self._running[name].pid)

    def send(self, name: str, number: signal.Signals) -> None:
        self.process(name).send_signal(number)

    def kill(self, name: str) -> None:
        if self.is_alive(name):
            self.send(name, signal.SIGKILL)
            self.wait(name)

    def wait(self, name: str) -> int:
        """Its exit code."""
        return self._running[name].wait(10.0)

    def confine(self, name: str, spare: int) -> None:
        """Into a memory cgroup of its own, with so many bytes to spare. Raises NoGroup where none can be made."""
        v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        root, file = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
        group = root / f"simple_clip_lstm_faults_{os.getpid()}"
        try:
            group.mkdir(exist_ok=True)
            self._groups.add(group)
            # What a process has before it enters is charged elsewhere: the limit is all that it may take from now on.
            (group / file).write_text(str(spare))
            (group / "cgroup.procs").write_text(str(self.process(name).pid))
        except OSError as error:
            raise NoGroup(f"no memory cgroup can be made here: {error}") from None

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        for group in self._groups:
            with suppress(OSError):
                group.rmdir()
