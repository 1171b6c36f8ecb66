"""The command as a process of its own, at the price of a fork from an interpreter that has imported everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from ros_domain import own_domain
from warm_python import WarmPython

import simple_clip_lstm_ros
from simple_clip_lstm_ros.policy.sample_images import sample_crops

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
def environment() -> Iterator[dict[str, str]]:
    """With stdout buffered, as for a user: what is in the buffer at the end must find its way, or not complain."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    package = Path(simple_clip_lstm_ros.__file__).parent
    # A domain of its own: another drive on this machine would turn this one's clock.
    with own_domain() as domain:
        own = {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1", "ROS_DOMAIN_ID": str(domain)}
        yield inherited | own


@pytest.fixture
def cli(
    warm_python: WarmPython, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    """Run `simple_clip_lstm` with these arguments, and with more in its environment.

    With `reader_gone` the reader of its stdout has gone.
    """

    def run(*arguments: object, stdin: bytes = b"", reader_gone: bool = False, **own: str) -> Outcome:
        folder = tmp_path_factory.mktemp("run")
        (folder / "stdin").write_bytes(stdin)
        (folder / "stdout").touch()
        reader, gone = os.pipe()
        os.close(reader)
        with ExitStack() as opened:
            files = {"stdin": (folder / "stdin").open()} | {
                name: (folder / name).open("w") for name in ("stdout", "stderr")
            }
            for file in files.values():
                opened.enter_context(file)
            streams = {**files, **({"stdout": gone} if reader_gone else {})}
            words = ["-m", "simple_clip_lstm_ros.cli.main", *arguments]
            code = warm_python.start(words, cwd=folder, env=environment | own, **streams).wait()
        os.close(gone)
        return Outcome(code, (folder / "stdout").read_text(), (folder / "stderr").read_text())

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
