"""The session's eye: a live device, or an image, a folder or a video frame by frame. Never a frame that is not real."""

from __future__ import annotations

import itertools
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path

# What OpenCV has to say of a camera that does not open, the error says.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np

from simple_clip_lstm_ros.cli.infer import read_frames
from simple_clip_lstm_ros.errors import InputError

# Frames that a driver may hold back, old after a pause: V4L2's number in OpenCV, for not every driver can do with one.
_QUEUE = 4


class FrameSource(ABC):
    def __init__(self, source: str) -> None:
        self.source = source

    @abstractmethod
    def next(self) -> tuple[str, np.ndarray]:
        """Name and uint8 RGB [height, width, 3] of a frame. Raises InputError if none comes."""

    @abstractmethod
    def peek(self) -> np.ndarray:
        """A frame, which a file gives again as its next. Raises InputError if none comes."""

    @abstractmethod
    def close(self) -> None: ...


class CameraSource(FrameSource):
    """Gives the newest frame, whatever the driver holds back."""

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
        grabbed = all(self._capture.grab() for _ in range(_QUEUE + 1))
        retrieved, frame = self._capture.retrieve() if grabbed else (False, None)
        if not retrieved or frame is None:
            raise InputError(f"camera {self.source} gives no frame; is it plugged in, and free of other programs?")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self._capture.release()


class FileSource(FrameSource):
    """Gives each frame once."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._frames = read_frames(Path(source))

    def next(self) -> tuple[str, np.ndarray]:
        for item in self._frames:
            return item
        raise InputError(f"{self.source} gives no more frames; `camera {self.source}` starts it again")

    def peek(self) -> np.ndarray:
        first = self.next()
        self._frames = itertools.chain([first], self._frames)
        return first[1]

    def close(self) -> None:
        pass


def open_source(source: str) -> FrameSource:
    return CameraSource(source) if re.fullmatch(r"[0-9]{1,3}|/dev/video[0-9]+", source) else FileSource(source)
