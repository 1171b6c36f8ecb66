"""The eight simulated tasks: pass one or two boxes, lengthwise or crosswise, on the named side, and reach a cup."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product

SIDES = ("left", "right")


@dataclass(frozen=True)
class Scenario:
    """A task: `orientation` is "vert" (lengthwise to the path) or "hori" (crosswise), `side` the side to pass on."""

    boxes: int
    orientation: str
    side: str

    def __str__(self) -> str:
        """Return the name as in the original project's file names: `1box_hori_left`."""
        return f"{self.boxes}box_{self.orientation}_{self.side}"

    @classmethod
    def parse(cls, text: str) -> Scenario | None:
        """Return the scenario in an episode's name, or None."""
        found = re.search(r"(?:^|_)([12])box_(vert|hori)_(left|right)(?:_|$)", text)
        return cls(int(found[1]), found[2], found[3]) if found else None

    @property
    def instruction(self) -> str:
        return f"go around the {self.side} side of the {'box' if self.boxes == 1 else 'boxes'} and reach the cup"

    @property
    def other_side(self) -> Scenario:
        """Return the same boxes with the other side to pass on."""
        return replace(self, side="right" if self.side == "left" else "left")

    @property
    def side_sign(self) -> int:
        """Return +1 to pass on the left, -1 on the right."""
        return 1 if self.side == "left" else -1


SCENARIOS = tuple(Scenario(*each) for each in product((1, 2), ("vert", "hori"), SIDES))
