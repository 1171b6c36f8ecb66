"""Statistics of a folder of episodes, constant baselines, and quality issues of episodes."""

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
    """Statistics of one axis over all frames, in the unit of the actions.

    `zeros` is the share of frames at exactly zero. `mean_error` and `median_error` are the mean absolute errors of the
    constant baselines, which output the mean or the median for every image: a policy must be better.
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
    """Statistics of the readable episodes, including degenerate ones. Durations in s; files by their path."""

    episodes: int = 0
    frames: int = 0
    duration: float = 0.0
    still: float = 0.0  # share of frames without any motion
    scenarios: dict[str, int] = field(default_factory=dict)  # episodes
    units: dict[str, int] = field(default_factory=dict)  # episodes
    axes: dict[str, AxisStats] = field(default_factory=dict)  # empty without a frame
    degenerate: dict[str, list[str]] = field(default_factory=dict)  # reasons
    unreadable: dict[str, str] = field(default_factory=dict)  # reason

    def as_plain(self) -> dict[str, Any]:
        """Return the statistics as plain values for JSON."""
        return asdict(self)


def find_episodes(path: str | Path) -> list[Path]:
    """Return the file itself, or all .h5 files in the folder and below.

    Raise EpisodeError if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise EpisodeError(f"{path} does not exist")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    if not files:
        raise EpisodeError(f"{path} holds no {SUFFIX} file: name a folder of episodes")
    return files


def summarize_dataset(files: Iterable[Path], *, on_file: Callable[[], None] = lambda: None) -> DatasetStats:
    """Summarize episodes, reading three images of each. Call `on_file` after each file."""
    stats, actions = DatasetStats(), [np.zeros((0, len(ACTION_COLUMNS)))]
    for file in files:
        try:
            episode = read_episode(file)
            issues = quality_issues(episode)
        except EpisodeError as error:
            stats.unreadable[str(file)] = str(error)
        else:
            _count_episode(stats, episode)
            actions.append(episode.actions.astype(np.float64))
            if issues:
                stats.degenerate[str(file)] = issues
        on_file()
    table = np.concatenate(actions)
    if len(table):
        stats.still = float((table == 0.0).all(axis=1).mean())
        stats.axes = {axis: AxisStats.of(values) for axis, values in zip(ACTION_COLUMNS, table.T, strict=True)}
    return stats


def _count_episode(stats: DatasetStats, episode: Episode) -> None:
    stats.episodes += 1
    stats.frames += len(episode)
    stats.duration += episode.total_duration
    counters = {
        str(Scenario.parse(episode.name) or OTHER): stats.scenarios,
        episode.action_units or UNSTATED: stats.units,
    }
    for key, counter in counters.items():
        counter[key] = counter.get(key, 0) + 1


def quality_issues(episode: Episode) -> list[str]:
    """Return why an episode is useless for training, empty if it is fine.

    Raise EpisodeError if its images cannot be read.
    """
    if len(episode) < 2:
        return ["fewer than 2 frames"]
    issues = []
    if not episode.actions.any():
        issues.append("all actions are zero")
    elif (episode.actions == episode.actions[0]).all():
        issues.append("all actions are the same")
    if episode.timestamps is not None and (np.diff(episode.timestamps) <= 0.0).any():
        issues.append("timestamps do not increase")
    frames = episode.frames(sorted({0, len(episode) // 2, len(episode) - 1}))
    if (frames == frames[:, :1, :1]).all():
        issues.append("images are blank")
    elif (frames == frames[0]).all():
        issues.append("images are all the same")
    return issues
