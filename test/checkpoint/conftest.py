"""Files like the ones that training runs leave behind: the tiny checkpoint, changed and saved again by torch.save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

Save = Callable[..., Path]
Act = Callable[[Policy], np.ndarray]


@pytest.fixture
def content(tiny: Path) -> dict[str, Any]:
    """What torch itself reads from the tiny checkpoint; each test may change its own."""
    return torch.load(tiny, weights_only=False)


@pytest.fixture
def state(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    return content["model_state_dict"]


@pytest.fixture
def save(tiny: Path, tmp_path: Path) -> Save:
    """Writes a file by torch.save into a folder that holds the processors too."""
    (tmp_path / "processors").symlink_to(f"{tiny}.processors")

    def save(content: Any, name: str = "model.pth", **options: Any) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def frames() -> Sequence[np.ndarray]:
    return list(sample_crops(3))


@pytest.fixture(scope="session")
def act(frames: Sequence[np.ndarray]) -> Act:
    """What a policy does on three frames, the state carried: [frames, axes]."""
    return lambda policy: np.array([policy.step(frame, "go to the box").values for frame in frames])


@pytest.fixture(scope="session")
def expected(tiny: Path, act: Act) -> np.ndarray:
    """What the tiny checkpoint itself does."""
    return act(load_policy(tiny))


@pytest.fixture(scope="session")
def tiny_shapes(tiny: Path) -> dict[str, tuple[int, ...]]:
    return open_checkpoint(tiny).shapes


@pytest.fixture(scope="session")
def bundles(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The tiny checkpoint as a bundle of each precision, made when it is asked for; treat them as read-only."""
    folder = tmp_path_factory.mktemp("bundles")

    class Bundles(dict[str, Path]):
        def __missing__(self, precision: str) -> Path:
            convert(tiny, folder / precision, precision=precision)
            self[precision] = folder / precision
            return self[precision]

    return Bundles()


@pytest.fixture(scope="session")
def stamp() -> Callable[[Path], None]:
    """Writes the SHA256SUMS of whatever the folder holds now, as somebody who has edited a bundle may do."""

    def stamp(bundle: Path) -> None:
        files = sorted(file for file in bundle.rglob("*") if file.is_file() and file.name != "SHA256SUMS")
        sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(bundle)}\n" for file in files]
        (bundle / "SHA256SUMS").write_text("".join(sums))

    return stamp
