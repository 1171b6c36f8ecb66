"""What people say for "go around it on that side and reach the cup": texts to train on, and others to be judged by."""

from __future__ import annotations

import itertools
import string

import numpy as np

from simple_clip_lstm_ros.sim.scenario import SIDES, Scenario

_VERBS = ("go", "drive", "move", "head", "travel", "roll")
_SIDES = (
    "around the {side} side of the {box}",
    "around the {box} on the {side}",
    "past the {box} on the {side} side",
    "past the {side} side of the {box}",
    "{side} around the {box}",
    "by the {side} of the {box}",
)
_GOALS = ("and reach the cup", "and go to the cup", "to the cup", "then stop at the cup", "until you reach the cup")
_TURNED = (
    "reach the cup by going around the {side} side of the {box}",
    "get to the cup on the {side} side of the {box}",
    "take the {side} way around the {box} to the cup",
    "the cup is behind the {box}, pass it on the {side}",
    "avoid the {box} on the {side} and find the cup",
)

# Shares of the words.
_UNHEARD = 0.15
_LEFT_OUT = 0.15

# None of these is trained on. "left" and "right" stand for the robot's way, as in all.
_UNSEEN = (
    "steer to the {side} of the {box} and stop by the cup",
    "the cup please, around the {box} by the {side}",
    "use the {side} side to get around the {box} and reach the cup",
    "keep to the {side} of the {box} on the way to the cup",
    "pass the {box} on its {side} side, then drive to the cup",
    "make for the cup and take the {side} side of the {box}",
    "i want you to go {side} of the {box} to the cup",
    "please go around the {box}, {side} side, to the cup",
    "circle the {box} on the {side} and reach the cup",
    "go to the cup, staying {side} of the {box}",
    "go {side}, around the {box}, to the cup",
    "move past the {box} along the {side} side and find the cup",
    "approach the cup from the {side} side of the {box}",
    "the {side} side of the {box} is free, go to the cup there",
    "find the cup behind the {box}, going {side}",
    "bear {side} at the {box} and continue to the cup",
    "on the {side} of the {box} there is a way to the cup, take it",
    "head for the cup, leaving the {box} by the {side} side",
    "drive the {side} way round the {box} until the cup",
    "reach the cup, {side} around the {box}",
)


def training_phrases(scenario: Scenario) -> list[str]:
    """Texts for training, the scenario's own instruction first."""
    ways = [" ".join(words) for words in itertools.product(_VERBS, _SIDES, _GOALS)]
    return list(dict.fromkeys([scenario.instruction, *_fill((*ways, *_TURNED), scenario)]))


def heldout_phrases(scenario: Scenario) -> list[str]:
    """Twenty other ways to say it."""
    return _fill(_UNSEEN, scenario)


def corrupt_words(text: str, rng: np.random.Generator) -> str:
    """The text with some words left out or in a language that nobody speaks, but for the sides.

    Who has learnt from such goes by the side and does not stumble over a word that he has never heard.
    """
    words = []
    for word in text.split():
        fate = 1.0 if word.strip(",") in SIDES else rng.random()
        if fate < _UNHEARD:
            words.append("".join(rng.choice(list(string.ascii_lowercase), rng.integers(1, 9))))
        elif fate > _UNHEARD + _LEFT_OUT:
            words.append(word)
    return " ".join(words)


def swap_left_right(text: str) -> str:
    """The text for the mirrored world: left and right exchanged."""
    other = dict(zip(SIDES, reversed(SIDES), strict=True))
    return " ".join(other.get(word.strip(","), word.strip(",")) + "," * word.endswith(",") for word in text.split())


def _fill(texts: tuple[str, ...] | list[str], scenario: Scenario) -> list[str]:
    boxes = "box" if scenario.boxes == 1 else "boxes"
    return [text.format(side=scenario.side, box=boxes) for text in texts]
