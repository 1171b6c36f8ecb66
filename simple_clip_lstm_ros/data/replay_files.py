"""The files of a replay, whoever replayed: the desk or the real node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.data.replay_pictures import draw_commands, draw_sheet
from simple_clip_lstm_ros.data.replayed import Replayed
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.plain import write_json

FILM = "drive.mp4"


def make_folder(out: Path) -> None:
    """Unless it is there. Raises InputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None


def write_files(out: Path, found: Replayed, document: Mapping[str, Any]) -> None:
    """All but the film, which is written as it goes. Raises InputError."""
    write_json(out / "replay.json", document)
    draw_commands(found, out / "commands.png")
    draw_sheet(found.shots, out / "frames.png")
