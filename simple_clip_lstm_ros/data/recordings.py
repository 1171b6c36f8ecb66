"""The episodes among some files that teach or tell something of a policy, each with its instruction and velocities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simple_clip_lstm_ros.data.episode import Episode
from simple_clip_lstm_ros.data.hdf5 import read_episode
from simple_clip_lstm_ros.data.summary import flaws
from simple_clip_lstm_ros.data.told import instruction_of, velocities_of
from simple_clip_lstm_ros.errors import EpisodeError


class Recording(NamedTuple):
    """`velocities` are float32 [T, 3] in m/s, m/s, rad/s."""

    file: Path
    episode: Episode
    instruction: str
    velocities: np.ndarray


def read_recordings(
    files: Iterable[Path],
    instruction: str | None,
    scale: tuple[float, float, float] | None,
    *,
    read: Callable[[], None] = lambda: None,
) -> tuple[list[Recording], dict[str, str]]:
    """Those of use, and the files that are left out, with the reason: unreadable or degenerate.

    `instruction` and `scale` are for episodes that state neither (see told.py). Raises EpisodeError where one is
    needed and not given, and where no episode is of use. `read` is called after each file.
    """
    recordings: list[Recording] = []
    left_out: dict[str, str] = {}
    for file in files:
        try:
            episode = read_episode(file)
            why = ", ".join(flaws(episode))
        except EpisodeError as error:
            why = str(error)
        if why:
            left_out[str(file)] = why
        else:
            recordings.append(_told(file, episode, instruction, scale))
        read()
    if not recordings:
        raise EpisodeError(f"none of {len(left_out)} episodes is of use: {in_words(left_out)[0]}")
    return recordings, left_out


def in_words(left_out: dict[str, str]) -> list[str]:
    """A line for each. Of what is unreadable the reason names the file itself."""
    return [why if why.startswith(file) else f"{file}: {why}" for file, why in left_out.items()]


def _told(file: Path, episode: Episode, instruction: str | None, scale: tuple[float, float, float] | None) -> Recording:
    try:
        return Recording(file, episode, instruction_of(episode, instruction), velocities_of(episode, scale))
    except EpisodeError as error:
        raise EpisodeError(f"{file}: {error}") from None
