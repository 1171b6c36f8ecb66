"""What is done to worlds, texts and frames to judge a policy."""

from __future__ import annotations

import math

import numpy as np

from simple_clip_lstm_ros.data.conditions import CONDITIONS, FIRST_SEED
from simple_clip_lstm_ros.data.instructions import trained, unseen
from simple_clip_lstm_ros.sim.layout import draw
from simple_clip_lstm_ros.sim.scenario import SCENARIOS

LAYOUT = draw(SCENARIOS[0], FIRST_SEED)
FRAME = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def test_each_changes_what_its_name_says_and_nothing_else() -> None:
    changed = {
        name: {
            what
            for what, same in {
                "layout": condition.layout(LAYOUT) == LAYOUT,
                "text": condition.instruction(LAYOUT) == LAYOUT.scenario.instruction,
                "frame": np.array_equal(condition.frame(FRAME), FRAME),
                "state": not condition.forgets,
            }.items()
            if not same
        }
        for name, condition in CONDITIONS.items()
    }
    assert changed == {
        "as trained": set(),
        "other words": {"text"},
        "blank image": {"frame"},
        "swapped instruction": {"text"},
        "state reset each frame": {"state"},
        "200 ms late": {"layout"},
        "base 20 % slower": {"layout"},
        "camera 5 degrees lower": {"layout"},
    }


def test_other_words_are_all_of_the_unseen_and_none_of_the_trained() -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + 8 * 20)
    used = {CONDITIONS["other words"].instruction(draw(SCENARIOS[0], seed)) for seed in seeds if seed % 8 == 0}
    assert used == set(unseen(SCENARIOS[0])) and not used & set(trained(SCENARIOS[0]))


def test_a_swapped_instruction_names_the_other_side() -> None:
    other = "right" if LAYOUT.scenario.side == "left" else "left"
    assert f"the {other} side" in CONDITIONS["swapped instruction"].instruction(LAYOUT)


def test_a_camera_that_is_tilted_is_beyond_what_training_has_seen() -> None:
    steepest = max(draw(SCENARIOS[0], seed).camera.pitch for seed in range(300))
    tilted = [CONDITIONS["camera 5 degrees lower"].layout(draw(SCENARIOS[0], seed)).camera.pitch for seed in range(300)]
    assert max(tilted) > steepest + math.radians(4.0)
