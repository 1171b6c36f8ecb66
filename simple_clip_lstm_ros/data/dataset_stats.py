"""What a folder of episodes holds, what the dullest policy would score on it, and which episodes teach nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simple_clip_lstm_ros.data.episode import ACTION_COLUMNS, Episode
from simple_clip_lstm_ros.data.hdf5 import SUFFIX, read_episode
from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.sim.scenario import Scenario

UNSTATED = "not stated"
OTHER = "other"


@dataclass(frozen=True)
class AxisStats:
    """Of one axis over all frames, in the unit of the actions.

    `zeros` is the share of frames at exactly zero. A policy that answers every image with the mean, or the median, has
    the mean absolute error `mean_error` or `median_error`: what is no better has learnt nothing.
    """

    mean: float
    std: float
    min: float
    max: float
    zeros: float
    mean_error: float
    median_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> AxisStats:
        mean, median = float(values.mean()), float(np.median(values))
        errors = (float(np.abs(values - constant).mean()) for constant in (mean, median))
        zeros = float((values == 0.0).mean())
        return cls(mean, float(values.std()), float(values.min()), float(values.max()), zeros, *errors)


@dataclass
class DatasetStats:
    """Of the episodes that could be read, degenerate ones among them. Durations in s; files by their path."""

    episodes: int = 0
    frames: int = 0
    duration: float = 0.0
    still: float = 0.0  # share of frames without any motion
    scenarios: dict[str, int] = field(default_factory=dict)  # episodes
    units: dict[str, int] = field(default_factory=dict)  # episodes
    axes: dict[str, AxisStats] = field(default_factory=dict)  # empty without a frame
    degenerate: dict[str, list[str]] = field(default_factory=dict)  # why
    unreadable: dict[str, str] = field(default_factory=dict)  # why

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_episodes(path: str | Path) -> list[Path]:
    """The file itself, or all .h5 files in the folder and below it. Raises EpisodeError if there is none."""
    path = Path(path)
    if not path.exists():
        raise EpisodeError(f"{path} does not exist")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    if not files:
        raise EpisodeError(f"{path} holds no {SUFFIX} file: name a folder of episodes")
    return files


def summarize_dataset(files: Iterable[Path], *, read: Callable[[], None] = lambda: None) -> DatasetStats:
    """Three images of each episode are looked at. `read` is called after each file."""
    summary, actions = DatasetStats(), [np.zeros((0, len(ACTION_COLUMNS)))]
    for file in files:
        try:
            episode = read_episode(file)
            why = quality_issues(episode)
        except EpisodeError as error:
            summary.unreadable[str(file)] = str(error)
        else:
            _count(summary, episode)
            actions.append(episode.actions.astype(np.float64))
            if why:
                summary.degenerate[str(file)] = why
        read()
    together = np.concatenate(actions)
    if len(together):
        summary.still = float((together == 0.0).all(axis=1).mean())
        summary.axes = {axis: AxisStats.of(values) for axis, values in zip(ACTION_COLUMNS, together.T, strict=True)}
    return summary


def _count(summary: DatasetStats, episode: Episode) -> None:
    summary.episodes += 1
    summary.frames += len(episode)
    summary.duration += episode.total_duration
    kinds = {
        str(Scenario.parse(episode.name) or OTHER): summary.scenarios,
        episode.action_units or UNSTATED: summary.units,
    }
    for kind, counted in kinds.items():
        counted[kind] = counted.get(kind, 0) + 1


def quality_issues(episode: Episode) -> list[str]:
    """Why nothing can be learnt from it, in a few words each. Raises EpisodeError if its images cannot be read."""
    if len(episode) < 2:
        return ["fewer than 2 frames"]
    found = []
    if not episode.actions.any():
        found.append("all actions are zero")
    elif (episode.actions == episode.actions[0]).all():
        found.append("all actions are the same")
    if episode.timestamps is not None and (np.diff(episode.timestamps) <= 0.0).any():
        found.append("timestamps do not increase")
    frames = episode.frames(sorted({0, len(episode) // 2, len(episode) - 1}))
    if (frames == frames[:, :1, :1]).all():
        found.append("images are blank")
    elif (frames == frames[0]).all():
        found.append("images are all the same")
    return found
