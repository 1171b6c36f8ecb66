"""What an episode means to a policy: the instruction it was driven on, and its actions as velocities.

Files of the original project state neither: the one may stand in their name, the other only the user can know.
"""

from __future__ import annotations

import numpy as np

from simple_clip_lstm_ros.data.episode import METRES_AND_RADIANS, Episode
from simple_clip_lstm_ros.errors import EpisodeError
from simple_clip_lstm_ros.sim.scenario import Scenario


def instruction_of(episode: Episode, given: str | None) -> str:
    """Its own, or that of the scenario in its name, or the `given` one. Raises EpisodeError where there is none."""
    scenario = Scenario.named_in(episode.name)
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
