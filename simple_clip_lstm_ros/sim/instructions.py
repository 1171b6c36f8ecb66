"""Phrasings of "go around it on that side and reach the cup": for training, and held out for evaluation."""

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
_OTHER_WORD_ORDERS = (
    "reach the cup by going around the {side} side of the {box}",
    "get to the cup on the {side} side of the {box}",
    "take the {side} way around the {box} to the cup",
    "the cup is behind the {box}, pass it on the {side}",
    "avoid the {box} on the {side} and find the cup",
)

# Shares of the words.
_REPLACED = 0.15
_DROPPED = 0.15

# None of these is trained on. "left" and "right" are sides of the robot's path, as in all phrases.
_HELDOUT = (
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
    """Return the texts for training, the scenario's own instruction first."""
    phrases = [" ".join(words) for words in itertools.product(_VERBS, _SIDES, _GOALS)]
    return list(dict.fromkeys([scenario.instruction, *_fill((*phrases, *_OTHER_WORD_ORDERS), scenario)]))


def heldout_phrases(scenario: Scenario) -> list[str]:
    """Return the twenty phrasings that are not trained on."""
    return _fill(_HELDOUT, scenario)


def corrupt_words(text: str, rng: np.random.Generator) -> str:
    """Return the text with some words dropped or replaced by random letters; the sides stay.

    A policy trained on such texts attends to the side and tolerates unknown words.
    """
    words = []
    for word in text.split():
        draw = 1.0 if word.strip(",") in SIDES else rng.random()
        if draw < _REPLACED:
            words.append("".join(rng.choice(list(string.ascii_lowercase), rng.integers(1, 9))))
        elif draw > _REPLACED + _DROPPED:
            words.append(word)
    return " ".join(words)


def swap_left_right(text: str) -> str:
    """Return the text for the mirrored world: left and right exchanged."""
    other = dict(zip(SIDES, reversed(SIDES), strict=True))
    return " ".join(other.get(word.strip(","), word.strip(",")) + "," * word.endswith(",") for word in text.split())


def _fill(texts: tuple[str, ...] | list[str], scenario: Scenario) -> list[str]:
    boxes = "box" if scenario.boxes == 1 else "boxes"
    return [text.format(side=scenario.side, box=boxes) for text in texts]
