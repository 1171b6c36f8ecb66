"""The eight tasks of the world: around one box or two, along or across the way, on the named side, to a cup."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product

SIDES = ("left", "right")


@dataclass(frozen=True)
class Scenario:
    """`orientation`: "vert", the box is long along the way, or "hori", across it. `side` is that of the robot's way."""

    boxes: int
    orientation: str
    side: str

    def __str__(self) -> str:
        """As the original project's files are named: `1box_hori_left`."""
        return f"{self.boxes}box_{self.orientation}_{self.side}"

    @classmethod
    def parse(cls, text: str) -> Scenario | None:
        """That which an episode's name bears, or None."""
        found = re.search(r"(?:^|_)([12])box_(vert|hori)_(left|right)(?:_|$)", text)
        return cls(int(found[1]), found[2], found[3]) if found else None

    @property
    def instruction(self) -> str:
        return f"go around the {self.side} side of the {'box' if self.boxes == 1 else 'boxes'} and reach the cup"

    @property
    def other_side(self) -> Scenario:
        """The same boxes, to be passed on the other side."""
        return replace(self, side="right" if self.side == "left" else "left")

    @property
    def left(self) -> int:
        """+1 where the way leads past on the left, -1 on the right."""
        return 1 if self.side == "left" else -1


SCENARIOS = tuple(Scenario(*each) for each in product((1, 2), ("vert", "hori"), SIDES))
