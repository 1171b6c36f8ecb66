"""What many drives say of a policy, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from simple_clip_lstm_ros.sim.world import STEP, World


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with its 95 % interval by Wilson (1927); of nothing, anything is possible."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return (0.0, 1.0)
        return wilson_interval(self.count, self.total)

    def __str__(self) -> str:
        if not self.total:
            return "of none"
        low, high = self.interval
        return f"{self.value:.1%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True)
class Score:
    """`obeyed` is of the drives that passed the boxes; time (s) and length (m) are means over those that succeeded.

    `unrest` is how fast the robot turned otherwise than a moment before: mean of |d yaw rate / dt| over all, rad/s².
    """

    success: Share
    obeyed: Share
    contact: Share
    time: float
    length: float
    unrest: float


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share: `count` of `total`, which is at least 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; the closed form without continuity correction is method 3 of R. G.
    Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), 857-872.
    """
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    share, weight = count / total, z * z / total
    middle = (share + weight / 2.0) / (1.0 + weight)
    half = z / (1.0 + weight) * math.sqrt(share * (1.0 - share) / total + weight / (4.0 * total))
    # At its ends the interval is exact: rounding must not lead beyond them.
    return (0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half)


def score(worlds: Sequence[World]) -> Score:
    """Of drives that have ended; at least one."""
    outcomes = [world.outcome for world in worlds]
    passed, arrived = [each for each in outcomes if each.passed], [each for each in outcomes if each.success]
    return Score(
        success=Share(len(arrived), len(outcomes)),
        obeyed=Share(sum(each.obeyed for each in passed), len(passed)),
        contact=Share(sum(each.contact for each in outcomes), len(outcomes)),
        time=_mean([each.time for each in arrived]),
        length=_mean([each.length for each in arrived]),
        unrest=_mean([_unrest(world) for world in worlds]),
    )


def _unrest(world: World) -> float:
    yaw = np.unwrap([pose.yaw for pose in world.path])
    return float(np.abs(np.diff(yaw, 2)).mean() / STEP**2) if len(yaw) > 2 else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
