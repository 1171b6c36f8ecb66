"""Read and write episodes as HDF5 files, in the original project's schema with extensions.

Datasets: images uint8 [T, H, W, 3], actions float32 [T, 3], action_event_types (T strings). Attributes: episode_name,
total_duration, num_frames, action_chunk_size, obstacle_layout_type. Our extensions: the datasets timestamps float64 [T]
and language_instruction (a string), and the attributes channel_order and action_units.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from simple_clip_lstm_ros.data.episode import ACTION_COLUMNS, METRES_AND_RADIANS, MOVE, START, STOP, Episode
from simple_clip_lstm_ros.errors import CheckpointError, EpisodeError, first_line, is_text
from simple_clip_lstm_ros.files import ErrorKeepingFile, check_writable, temp_path, write_errors_as
from simple_clip_lstm_ros.sim.scenario import Scenario

SUFFIX = ".h5"
ORDERS = ("rgb", "bgr")
_DEFAULT_ORDER = "bgr"  # the original project writes OpenCV images
_LFS = b"version https://git-lfs"
_REMEDY = "leave it out, or record it again"
# Exceptions that h5py raises for damaged files.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)

_CHUNK_SIZE = 8  # the original project's action_chunk_size, which its readers require
_LEAST_FREE = 100_000_000  # bytes: a hundred frames or more
# Every HDF5 program reads gzip. On photographs a higher level takes longer and saves no space.
_COMPRESSION = {"compression": "gzip", "compression_opts": 1}


def read_episode(path: str | Path) -> Episode:
    """Read an episode except its images, which `frames` reads on demand. Close the file.

    Raise EpisodeError for an incomplete or invalid episode: an unreadable file, a dataset that is missing or has
    another type or length, a number that is not finite.
    """
    path = Path(path)
    with _open_file(path) as file:
        length = len(_images(file))
        instruction, stamps = file.get("language_instruction"), file.get("timestamps")
        episode = Episode(
            name=_to_text(file, "episode_name", file.attrs.get("episode_name")),
            actions=_read_numbers(file, "actions", (length, len(ACTION_COLUMNS))).astype(np.float32),
            event_types=_read_texts(file, "action_event_types", length),
            timestamps=None if stamps is None else _read_numbers(file, "timestamps", (length,)).astype(np.float64),
            language_instruction=None if instruction is None else _read_text(file, "language_instruction"),
            total_duration=_total_duration(file),
            channel_order=_channel_order(file),
            action_units=_text_attribute(file, "action_units"),
            frames=partial(read_frames, path),
        )
        stated = file.attrs.get("num_frames", length)
        if stated != length:
            raise EpisodeError(f"{path} says {stated} frames (num_frames) and holds {length}: {_REMEDY}")
    return episode


def read_frames(path: str | Path, indices: Sequence[int] | None = None) -> np.ndarray:
    """Return images uint8 [frames, height, width, 3] in RGB: all, or those at ascending `indices`.

    Raise EpisodeError if they cannot be read.
    """
    with _open_file(Path(path)) as file:
        images = _images(file)
        frames = images[:] if indices is None else images[list(indices)]
        # OpenCV and torch need contiguous memory.
        return frames if (_channel_order(file) or _DEFAULT_ORDER) == "rgb" else np.ascontiguousarray(frames[..., ::-1])


@contextmanager
def _open_file(path: Path) -> Iterator[h5py.File]:
    _check_is_hdf5(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGE as error:
        raise EpisodeError(f"{path} is damaged or incomplete ({first_line(error)}): copy it again") from None


def _check_is_hdf5(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(len(_LFS))
    except OSError as error:
        raise EpisodeError(f"{path} cannot be read: {error.strerror or error}") from None
    if header == _LFS:
        raise EpisodeError(f"{path} is a Git LFS pointer: run git lfs pull")
    if not h5py.is_hdf5(path):
        raise EpisodeError(f"{path} is not an HDF5 file: name files of episodes, or a folder of them")


def _images(file: h5py.File) -> h5py.Dataset:
    images = _dataset(file, "images")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        needed = "uint8 [frames, height, width, 3]"
        raise EpisodeError(f"{file.filename}: images are {_describe_dataset(images)} instead of {needed}; convert them")
    return images


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise EpisodeError(f"{file.filename}: missing dataset {name!r}: not an episode file, or truncated")
    return found


def _describe_dataset(dataset: h5py.Dataset) -> str:
    return f"{dataset.dtype} {list(dataset.shape or ())}"


def _read_numbers(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a floating-point dataset of this shape. Raise EpisodeError unless all are finite in float32."""
    dataset = _dataset(file, name)
    if dataset.dtype.kind != "f" or dataset.shape != shape:
        raise EpisodeError(
            f"{file.filename}: {name} are {_describe_dataset(dataset)} where float32 {list(shape)} belong to "
            f"{shape[0]} images: {_REMEDY}"
        )
    values = dataset[:]
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all(axis=tuple(range(1, len(shape))))
    if not finite.all():
        raise EpisodeError(f"{file.filename}: {name} of frame {finite.argmin()} are not finite: {_REMEDY}")
    return values


def _read_texts(file: h5py.File, name: str, length: int) -> tuple[str, ...]:
    dataset = _dataset(file, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.shape != (length,):
        raise EpisodeError(
            f"{file.filename}: {name} are {_describe_dataset(dataset)}, not strings of {length} images: {_REMEDY}"
        )
    return tuple(dataset.asstr()[:])


def _read_text(file: h5py.File, name: str) -> str:
    dataset = _dataset(file, name)
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.shape != ():
        raise EpisodeError(f"{file.filename}: {name} is {_describe_dataset(dataset)}, not one string: write it again")
    return dataset.asstr()[()]


def _text_attribute(file: h5py.File, name: str) -> str | None:
    value = file.attrs.get(name)
    return None if value is None else _to_text(file, name, value)


def _to_text(file: h5py.File, name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise EpisodeError(f"{file.filename}: the attribute {name} is {value!r:.40}, not a string: write it again")
    return value


def _channel_order(file: h5py.File) -> str | None:
    order = _text_attribute(file, "channel_order")
    if order is not None and order not in ORDERS:
        raise EpisodeError(f"{file.filename}: channel_order {order!r:.40} is not one of {', '.join(ORDERS)}: state it")
    return order


def _total_duration(file: h5py.File) -> float:
    duration = file.attrs.get("total_duration")
    if not isinstance(duration, (float, int, np.number)) or not np.isfinite(duration):
        raise EpisodeError(f"{file.filename}: total_duration is {duration!r:.40}, not seconds: write it again")
    return float(duration)


class EpisodeWriter:
    """Writes a new episode file frame by frame, without keeping the images in memory.

    A context manager: on exit it completes the file; on an exception it removes the partial file. The episode is named
    after the file. Raise EpisodeError for a path that exists or cannot be written, for a frame that does not fit, and
    on exit without any frame.
    """

    def __init__(
        self, path: str | Path, *, language_instruction: str | None = None, action_units: str = METRES_AND_RADIANS
    ) -> None:
        self.path = Path(path)
        for text in (self.path.stem, language_instruction or ""):
            if not is_text(text):
                raise EpisodeError(f"{self.path}: {text!r} cannot be stored as text: NUL, or not UTF-8")
        self._instruction, self._units = language_instruction, action_units
        self._actions: list[np.ndarray] = []
        self._stamps: list[float] = []

    def __len__(self) -> int:
        """Return the number of frames so far."""
        return len(self._actions)

    def __enter__(self) -> EpisodeWriter:
        self._temp_path = temp_path(self.path)
        try:
            check_writable(self.path, _LEAST_FREE)
        except CheckpointError as error:
            raise EpisodeError(str(error)) from None
        with self._write_errors():
            self._raw_file = ErrorKeepingFile(self._temp_path)
        self._file = h5py.File(self._raw_file, "w")
        return self

    def add(self, frame: np.ndarray, action: Sequence[float], stamp: float) -> None:
        """Append a frame with its action and stamp.

        `frame` is uint8 [height, width, 3] in RGB, all of one size; `action` a velocity in the order of ACTION_COLUMNS;
        `stamp` in s of any clock.
        """
        with np.errstate(over="ignore"):
            values = np.asarray(action, np.float32)
        if values.shape != (len(ACTION_COLUMNS),) or not np.isfinite(values).all() or not np.isfinite(stamp):
            raise EpisodeError(f"{self.path}: the action {action} at {stamp} s is not three finite velocities")
        shape = self._file["images"].shape[1:] if self._actions else (*frame.shape[:2], 3)
        if frame.dtype != np.uint8 or frame.shape != shape or not frame.size:
            raise EpisodeError(f"{self.path}: a frame of {frame.dtype} {list(frame.shape)}, not uint8 {list(shape)}")
        if not self._actions:
            layout = {"maxshape": (None, *shape), "chunks": (1, *shape)}
            self._file.create_dataset("images", (0, *shape), np.uint8, **layout, **_COMPRESSION)
        images = self._file["images"]
        images.resize(len(self) + 1, axis=0)
        with self._write_errors():
            images[len(self)] = frame
        self._actions.append(values)
        self._stamps.append(stamp)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._file.close()
            self._raw_file.close()
            self._temp_path.unlink(missing_ok=True)

    def _complete(self) -> None:
        if not self._actions:
            raise EpisodeError(f"{self.path}: no frame was received, so there is no episode to write")
        self._write_metadata(np.array(self._stamps, np.float64) - self._stamps[0])
        self._file.close()
        with self._write_errors():
            os.fsync(self._raw_file.fileno())
        self._temp_path.rename(self.path)

    def _write_metadata(self, seconds: np.ndarray) -> None:
        """Write everything except the images."""
        events = [START, *(MOVE if action.any() else STOP for action in self._actions[1:])]
        self._file["actions"] = np.stack(self._actions)
        self._file["timestamps"] = seconds
        self._file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype())
        if self._instruction is not None:
            self._file["language_instruction"] = self._instruction
        name = self.path.stem
        attributes = {"episode_name": name, "num_frames": len(self), "total_duration": seconds[-1]}
        attributes |= {"action_chunk_size": _CHUNK_SIZE, "channel_order": "rgb", "action_units": self._units}
        if scenario := Scenario.parse(name):
            attributes["obstacle_layout_type"] = scenario.orientation
        self._file.attrs.update(attributes)

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            with write_errors_as(EpisodeError, self.path):
                yield
                self._raw_file.raise_error()
        except EpisodeError as error:
            if isinstance(error.__cause__, FileExistsError):
                problem = f"{self._temp_path} exists: another recording is running, or one was killed"
                raise EpisodeError(f"{problem}; remove it then") from None
            raise
