"""A live camera gives its newest frame or an error; OpenCV's capture is played here by a driver with a queue."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import pytest

from simple_clip_lstm_ros.cli import frame_source
from simple_clip_lstm_ros.cli.frame_source import open_source
from simple_clip_lstm_ros.errors import InputError


class Driver:
    """Frame number n is of the colour BGR (n, 0, 9). The queue fills while nobody looks; then a grab waits for one."""

    opened: Driver
    works = True

    def __init__(self, source: object) -> None:
        type(self).opened = self
        self.source = source
        self.settings: dict[int, float] = {}
        self.released = False
        self.queue: deque[int] = deque()
        self.number = 0

    def time_passes(self) -> None:
        self.queue.extend(range(self.number, self.number + 4 - len(self.queue)))
        self.number += 50

    def isOpened(self) -> bool:
        return self.source != 7

    def set(self, name: int, value: float) -> bool:
        self.settings[name] = value
        return True

    def grab(self) -> bool:
        if not self.queue:
            self.number += 1
            self.queue.append(self.number)
        self.grabbed = self.queue.popleft()
        return self.works

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return True, np.full((24, 32, 3), (self.grabbed, 0, 9), np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> type[Driver]:
    monkeypatch.setattr(frame_source.cv2, "VideoCapture", Driver)
    return Driver


def test_a_frame_is_the_newest_and_rgb() -> None:
    live = open_source("0")
    assert Driver.opened.source == 0
    assert Driver.opened.settings[cv2.CAP_PROP_BUFFERSIZE] == 1
    for index in range(3):
        Driver.opened.time_passes()
        passed = Driver.opened.number
        name, frame = live.next()
        assert name == f"0#{index}"
        assert frame[0, 0, 2] == Driver.opened.number > passed, "taken after it was asked for"
        assert frame[0, 0, 0] == 9


def test_a_look_at_it_is_no_frame_of_it() -> None:
    live = open_source("/dev/video3")
    assert Driver.opened.source == "/dev/video3"
    assert live.peek().shape == (24, 32, 3)
    assert live.next()[0] == "/dev/video3#0"


def test_no_camera_is_an_error() -> None:
    with pytest.raises(InputError, match="camera 7 does not open"):
        open_source("7")


def test_no_frame_is_an_error_and_not_a_frame() -> None:
    live = open_source("0")
    live.next()
    Driver.opened.works = False
    for _ in range(2):
        with pytest.raises(InputError, match="camera 0 gives no frame"):
            live.next()
    Driver.opened.works = True
    assert live.next()[0] == "0#1", "it may come back"


def test_closing_releases_the_device() -> None:
    live = open_source("0")
    live.close()
    assert Driver.opened.released
