"""Frames from a camera, an image, a folder or a video."""

from __future__ import annotations

import itertools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

# OpenCV's log of a camera that does not open would repeat the error.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
# The same holds for ffmpeg and a file that is not a video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from simple_clip_lstm_ros.errors import InputError

# Frames that a driver may buffer, old after a pause: OpenCV's number for V4L2, since not every driver supports fewer.
_BUFFER_SIZE = 4


class FrameSource(ABC):
    """A source of frames: uint8 RGB [height, width, 3] with a name."""

    def __init__(self, source: str) -> None:
        self.source = source

    @abstractmethod
    def next(self) -> tuple[str, np.ndarray]:
        """Return name and uint8 RGB [height, width, 3] of the next frame. Raise InputError if there is none."""

    @abstractmethod
    def peek(self) -> np.ndarray:
        """Return a frame; `next` of a file returns it again. Raise InputError if there is none."""

    @abstractmethod
    def close(self) -> None: ...


class CameraSource(FrameSource):
    """A camera; returns the newest frame and skips those that the driver has buffered."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._count = itertools.count()
        self._capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        if not self._capture.isOpened():
            raise InputError(
                f"camera {source} does not open: is it there (ls /dev/video*), and may you read it (group video)?"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def next(self) -> tuple[str, np.ndarray]:
        frame = self.peek()
        return f"{self.source}#{next(self._count)}", frame

    def peek(self) -> np.ndarray:
        grabbed = all(self._capture.grab() for _ in range(_BUFFER_SIZE + 1))
        retrieved, frame = self._capture.retrieve() if grabbed else (False, None)
        if not retrieved or frame is None:
            raise InputError(f"camera {self.source} gives no frame; is it plugged in, and free of other programs?")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self._capture.release()


class FileSource(FrameSource):
    """An image, a folder of images or a video; returns each frame once."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._frames = read_frames(Path(source))

    def next(self) -> tuple[str, np.ndarray]:
        for item in self._frames:
            return item
        raise InputError(f"{self.source} has no more frames; `camera {self.source}` starts it again")

    def peek(self) -> np.ndarray:
        first = self.next()
        self._frames = itertools.chain([first], self._frames)
        return first[1]

    def close(self) -> None:
        pass


def open_source(source: str) -> FrameSource:
    return CameraSource(source) if re.fullmatch(r"[0-9]{1,3}|/dev/video[0-9]+", source) else FileSource(source)


def read_frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Return name and uint8 RGB [height, width, 3] of each frame at `path`.

    Raise InputError at once if `path` has no frames, later for a frame that cannot be read.
    """
    if path.is_dir():
        try:
            files = sorted(file for file in path.iterdir() if _is_image(file))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        if not files:
            raise InputError(f"{path} holds no image")
        return ((file.name, _read_image(file)) for file in files)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if _is_image(path):
        return iter([(path.name, _read_image(path))])
    return _read_video(path)


def _is_image(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # OpenCV 5.0 crashes on such a name
        raise InputError(f"the name {path} is not UTF-8; rename it") from None
    return cv2.haveImageReader(str(path))


def _read_image(path: Path) -> np.ndarray:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than OpenCV takes
        image = None
    if image is None:
        raise InputError(f"{path} is not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_video(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    capture = cv2.VideoCapture(str(path))
    if not capture.grab():
        raise InputError(f"{path} is neither an image nor a video that OpenCV can read")
    return _remaining_frames(capture, path.name)


def _remaining_frames(capture: cv2.VideoCapture, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the frames from the last grabbed one to the end. Raise InputError for one that cannot be decoded."""
    grabbed, index = True, 0
    while grabbed:
        retrieved, frame = capture.retrieve()
        if not retrieved:
            raise InputError(f"{name}#{index} cannot be decoded")
        yield f"{name}#{index}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        grabbed, index = capture.grab(), index + 1
