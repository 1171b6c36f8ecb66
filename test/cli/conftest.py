"""The command as a process of its own, at the price of a fork from an interpreter that has imported everything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

import simple_clip_lstm_ros
from simple_clip_lstm_ros.policy.sample_images import sample_crops

_WARM = """
import gc, json, os, sys
from simple_clip_lstm_ros.checkpoint import load, inspect_report, random_checkpoint
from simple_clip_lstm_ros.cli import session_commands, infer, inspect, session, synth
from simple_clip_lstm_ros.cli.main import main
from simple_clip_lstm_ros.policy.sample_images import sample_crops

# What is imported on first use shall be there too.
load.load_policy(sys.argv[1]).step(next(sample_crops(1)), "go")

gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(job["folder"])
        if job["reader_gone"]:
            reader, stdout = os.pipe()
            os.close(reader)
        else:
            stdout = os.open("stdout", os.O_WRONLY | os.O_CREAT)
        os.dup2(os.open("stdin", os.O_RDONLY), 0)
        sys.stdin = open(0)
        os.dup2(stdout, 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
        try:
            code = main(job["arguments"])
        except SystemExit as exit:
            code = exit.code
        if job["reader_gone"]:
            sys.exit(code)  # the interpreter's own last flush may complain too
        sys.stdout.flush()
        os._exit(code)  # taking down all those libraries would cost most of the time
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


_NEED = re.compile(
    r"\Aneed \(GB\) +(fp32|bf16|fp16|int8) (eager|packed) on (cpu|cuda(:\d+)?)(; [^\n]+)?\n"
    r"weights +\d+\.\d\d\nactivations +\d+\.\d\d\nruntime +\d+\.\d\d\n(of them on the GPU +\d+\.\d\d\n)?"
    r"in all +\d+\.\d\d\npeak while loading +\d+\.\d\d\nthere are +\d+\.\d\d\n"
)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """stderr after the table of what a model will need, which every load must begin with."""
        table = _NEED.match(self.err)
        assert table, self.err
        return self.err[table.end() :]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """With stdout buffered, as for a user: what is in the buffer at the end must find its way, or not complain."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    package = Path(simple_clip_lstm_ros.__file__).parent
    # A domain of its own: another drive on this machine would turn this one's clock.
    own = {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1", "ROS_DOMAIN_ID": str(1 + os.getpid() % 101)}
    return inherited | own


@pytest.fixture(scope="session")
def warm(tiny: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-c", _WARM, str(tiny)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def cli(warm: subprocess.Popen, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Runs `simple_clip_lstm` with these arguments. With `reader_gone` nobody reads its stdout any more."""

    def run(*arguments: object, stdin: bytes = b"", reader_gone: bool = False) -> Outcome:
        folder = tmp_path_factory.mktemp("run")
        (folder / "stdin").write_bytes(stdin)
        job = {"folder": str(folder), "arguments": [str(item) for item in arguments], "reader_gone": reader_gone}
        warm.stdin.write(json.dumps(job) + "\n")
        warm.stdin.flush()
        code = int(warm.stdout.readline())
        out = "" if reader_gone else (folder / "stdout").read_text()
        return Outcome(code, out, (folder / "stderr").read_text())

    return run


@pytest.fixture
def real_cli(environment: dict[str, str]) -> Callable[..., Outcome]:
    """The same from a cold start, as a shell runs it, with more in its environment: takes seconds."""

    def run(*arguments: object, **own: str) -> Outcome:
        command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment | own, timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def content(tiny: Path) -> dict[str, Any]:
    return torch.load(tiny, weights_only=False)


@pytest.fixture
def state(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    return content["model_state_dict"]


@pytest.fixture
def save(tiny: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a file by torch.save into a folder that holds the processors too."""
    (tmp_path / "processors").symlink_to(f"{tiny}.processors")

    def save(content: Any) -> Path:
        torch.save(content, tmp_path / "model.pth")
        return tmp_path / "model.pth"

    return save


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photograph") / "photograph.png"
    cv2.imwrite(str(path), next(sample_crops(1))[:, :, ::-1])
    return path
