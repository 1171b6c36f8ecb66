"""Fixtures for the tests of several packages, and the order in which the tests run."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import setuptools
import torch

sys.path.insert(0, str(Path(__file__).parent / "support"))  # pytest imports by path and leaves the tests' folders out
import examples  # noqa: F401  loads the profile of hypothesis
from warm_python import WarmPython

from simple_clip_lstm_ros.checkpoint import user_input
from simple_clip_lstm_ros.checkpoint.bundle import SUMS, sha256
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint

# Files that take longest; they start first, so that no worker is left alone with one of them at the end.
# fmt: off
SLOWEST_FIRST = [
    "test_images", "test_tiny_model", "test_documents", "test_memory_estimate", "test_dagger", "test_lifecycle",
    "test_evaluate", "test_frame_source", "test_train", "test_demo", "test_lockstep", "test_session", "test_occlusion",
    "test_doctor", "test_live", "test_driving", "test_interleaved", "test_load", "test_layer_pruning", "test_convert",
    "test_bag_recorder", "test_velocity_guard",
]
# fmt: on


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("torchao") is None:
        for item in items:
            if item.get_closest_marker("int8"):
                item.add_marker(pytest.mark.skip(reason="torchao is not installed"))
    rank = {name: position for position, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


# A tiny model's operations are too short to share: on a busy machine its threads mostly wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with its processors beside it; treat it as read-only."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    write_random_checkpoint("tiny", path)
    return path


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Start programs without the seconds that it takes to import torch."""
    server = WarmPython()
    yield server
    server.close()


@pytest.fixture
def models(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model, in place of the package's own."""
    folder = tmp_path / "models"
    folder.mkdir()
    convert(tiny, folder / "small")
    monkeypatch.setattr(user_input, "MODELS", folder)
    monkeypatch.chdir(tmp_path)  # where nothing bears such a name
    return folder


@pytest.fixture(params=["clip", "kosmos"])
def bundle_with_code(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A whole bundle whose tokenizer asks Hugging Face to load code, and the file that this code would write."""
    bundle, marker = tmp_path / "bundle", tmp_path / "the_code_ran"
    shutil.copytree(user_input.MODELS / "tiny", bundle)
    folder = next((bundle / "processors").glob(f"{request.param}*"))
    (folder / "custom.py").write_text(f"open({str(marker)!r}, 'w')\n\nclass Custom:\n    pass\n")
    classes = {"AutoTokenizer": ["custom.Custom"] * 2, "AutoProcessor": "custom.Custom", "AutoConfig": "custom.Custom"}
    for name in ("tokenizer_config.json", "processor_config.json", "config.json"):
        settings = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        settings |= {"auto_map": classes, "tokenizer_class": "Custom", "processor_class": "Custom"}
        (folder / name).write_text(json.dumps(settings))
    files = [file for file in sorted(bundle.rglob("*")) if file.is_file() and file.name != SUMS]
    lines = [f"{sha256(file)}  {file.relative_to(bundle).as_posix()}\n" for file in files]
    (bundle / SUMS).write_text("".join(lines))
    return bundle, marker


@pytest.fixture
def originals() -> list[dict[str, Any]]:
    """Two drives and one without any motion, as the original's robot recorded them: attrs, actions, event_types."""
    return json.loads((Path(__file__).parent / "data" / "original_episodes.json").read_text())["episodes"]


@pytest.fixture(scope="session")
def write_original() -> Callable[..., np.ndarray]:
    """Writes an episode as the original's recorder does, by h5py alone, and returns its images: in BGR."""
    h5py = pytest.importorskip("h5py")

    def write(path: Path, episode: dict[str, Any], images: np.ndarray | None = None) -> np.ndarray:
        count = len(episode["actions"])
        if images is None:
            images = np.random.default_rng(count).integers(0, 256, (count, 24, 32, 3), np.uint8)
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, compression="gzip")
            file.create_dataset("actions", data=np.array(episode["actions"], np.float32))
            file.create_dataset("action_event_types", data=episode["event_types"], dtype=h5py.string_dtype())
            file.attrs.update(episode["attrs"])
        return images

    return write


@pytest.fixture(scope="session")
def setup() -> dict[str, Any]:
    """The arguments that setup.py gives to setup()."""
    with pytest.MonkeyPatch.context() as patch, mock.patch.object(setuptools, "setup") as call:
        patch.chdir(Path(__file__).parents[1])  # setup.py's paths are relative
        runpy.run_path("setup.py")
    return call.call_args.kwargs
