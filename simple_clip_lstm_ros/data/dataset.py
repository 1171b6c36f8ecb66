"""Episodes for training and evaluation: each with its instruction and its velocities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simple_clip_lstm_ros.data.dataset_stats import quality_issues
from simple_clip_lstm_ros.data.episode import METRES_AND_RADIANS, Episode
from simple_clip_lstm_ros.data.hdf5 import read_episode
from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.sim.scenario import Scenario


def instruction_of(episode: Episode, given: str | None) -> str:
    """Its own, or that of the scenario in its name, or the `given` one. Raises EpisodeError where there is none."""
    scenario = Scenario.parse(episode.name)
    for text in (episode.language_instruction, scenario and scenario.instruction, given):
        if text and text.strip():
            return text
    raise EpisodeError(f"episode {episode.name} states no instruction: give one with --instruction TEXT")


def velocities_of(episode: Episode, scale: tuple[float, float, float] | None) -> np.ndarray:
    """float32 [T, 3] in m/s, m/s, rad/s by AXES.

    `scale` is for files that do not state that unit: factors from their numbers to it. Raises EpisodeError without.
    """
    if episode.action_units == METRES_AND_RADIANS:
        return episode.actions
    if scale is None:
        unit = f"in {episode.action_units}" if episode.action_units else "in a unit that it does not state"
        raise EpisodeError(
            f"episode {episode.name} has its actions {unit}, which are no velocities: give the factors to m/s, m/s and "
            "rad/s with --action-scale X Y ANGULAR"
        )
    return episode.actions * np.array(scale, np.float32)


class LabelledEpisode(NamedTuple):
    """`velocities` are float32 [T, 3] in m/s, m/s, rad/s."""

    file: Path
    episode: Episode
    instruction: str
    velocities: np.ndarray


def read_dataset(
    files: Iterable[Path],
    instruction: str | None,
    scale: tuple[float, float, float] | None,
    *,
    read: Callable[[], None] = lambda: None,
) -> tuple[list[LabelledEpisode], dict[str, str]]:
    """Those of use, and the files that are left out, with the reason: unreadable or degenerate.

    `instruction` and `scale` are for episodes that state neither (see told.py). Raises EpisodeError where one is
    needed and not given, and where no episode is of use. `read` is called after each file.
    """
    recordings: list[LabelledEpisode] = []
    left_out: dict[str, str] = {}
    for file in files:
        try:
            episode = read_episode(file)
            why = ", ".join(quality_issues(episode))
        except EpisodeError as error:
            why = str(error)
        if why:
            left_out[str(file)] = why
        else:
            recordings.append(_label(file, episode, instruction, scale))
        read()
    if not recordings:
        raise EpisodeError(f"none of {len(left_out)} episodes is of use: {format_skipped(left_out)[0]}")
    return recordings, left_out


def format_skipped(left_out: dict[str, str]) -> list[str]:
    """A line for each. Of what is unreadable the reason names the file itself."""
    return [why if why.startswith(file) else f"{file}: {why}" for file, why in left_out.items()]


def _label(
    file: Path, episode: Episode, instruction: str | None, scale: tuple[float, float, float] | None
) -> LabelledEpisode:
    try:
        return LabelledEpisode(file, episode, instruction_of(episode, instruction), velocities_of(episode, scale))
    except EpisodeError as error:
        raise EpisodeError(f"{file}: {error}") from None
