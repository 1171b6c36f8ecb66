"""Read a dataset for training and evaluation: episodes with their instruction and velocities."""

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
    """Return the episode's instruction: its own, the one of the scenario in its name, or `given`.

    Raise EpisodeError if there is none.
    """
    scenario = Scenario.parse(episode.name)
    for text in (episode.language_instruction, scenario and scenario.instruction, given):
        if text and text.strip():
            return text
    raise EpisodeError(f"episode {episode.name} states no instruction: give one with --instruction TEXT")


def velocities_of(episode: Episode, scale: tuple[float, float, float] | None) -> np.ndarray:
    """Return the actions as velocities, float32 [T, 3] in m/s, m/s, rad/s, in the order of AXES.

    `scale` holds the factors to these units for files in other or unstated units. Raise EpisodeError if it is None for
    such a file.
    """
    if episode.action_units == METRES_AND_RADIANS:
        return episode.actions
    if scale is None:
        unit = f"in {episode.action_units}" if episode.action_units else "in a unit that it does not state"
        raise EpisodeError(
            f"episode {episode.name} has its actions {unit}, which are not velocities: give the factors to m/s, m/s "
            "and rad/s with --action-scale X Y ANGULAR"
        )
    return episode.actions * np.array(scale, np.float32)


class LabelledEpisode(NamedTuple):
    """An episode with its instruction, and its `velocities` float32 [T, 3] in m/s, m/s, rad/s."""

    file: Path
    episode: Episode
    instruction: str
    velocities: np.ndarray


def read_dataset(
    files: Iterable[Path],
    instruction: str | None,
    scale: tuple[float, float, float] | None,
    *,
    on_file: Callable[[], None] = lambda: None,
) -> tuple[list[LabelledEpisode], dict[str, str]]:
    """Return the usable episodes, and the skipped files with the reason: unreadable or degenerate.

    `instruction` and `scale` are for episodes that do not state them (see instruction_of and velocities_of). Call
    `on_file` after each file. Raise EpisodeError if one of them is needed but not given, or if no episode is usable.
    """
    episodes: list[LabelledEpisode] = []
    skipped: dict[str, str] = {}
    for file in files:
        try:
            episode = read_episode(file)
            reason = ", ".join(quality_issues(episode))
        except EpisodeError as error:
            reason = str(error)
        if reason:
            skipped[str(file)] = reason
        else:
            episodes.append(_label(file, episode, instruction, scale))
        on_file()
    if not episodes:
        raise EpisodeError(f"none of {len(skipped)} episodes is of use: {format_skipped(skipped)[0]}")
    return episodes, skipped


def format_skipped(skipped: dict[str, str]) -> list[str]:
    """Return one line per skipped file; the reason of an unreadable file already names the file."""
    return [reason if reason.startswith(file) else f"{file}: {reason}" for file, reason in skipped.items()]


def _label(
    file: Path, episode: Episode, instruction: str | None, scale: tuple[float, float, float] | None
) -> LabelledEpisode:
    try:
        return LabelledEpisode(file, episode, instruction_of(episode, instruction), velocities_of(episode, scale))
    except EpisodeError as error:
        raise EpisodeError(f"{file}: {error}") from None
