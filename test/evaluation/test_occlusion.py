"""What parts and words add: of models whose answer is known, and of the model that comes with the package."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.evaluation.occlusion import GRID, MAX_GRID, MIN_GRID, count_steps, draw_explanation, explain
from simple_clip_lstm_ros.policy.policy import Action
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.perturbations import FIRST_SEED
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.sim.world import World

FRAME = np.zeros((60, 80, 3), np.uint8)
FRAME[5:10, 7:13] = 255  # in the top left sixteenth


class Known:
    """Turns by how bright the top left sixteenth is, and drives by how many times it is told `go`."""

    config = SimpleNamespace(action_axes=("linear.x", "angular.z"))

    def __init__(self):
        self.fresh, self.stale = True, 0

    def reset(self):
        self.fresh = True

    def step(self, frame, instruction):
        self.stale += not self.fresh
        self.fresh = False
        return Action((float(instruction.split().count("go")), frame[:15, :20].mean() / 255.0), 0.0, 0.0, 1)


def test_what_is_looked_at_lights_up_and_the_word_that_is_obeyed_counts():
    policy, seen = Known(), []
    found = explain(policy, FRAME, "go to cup", 8, lambda: seen.append(1))
    turn = found.heatmaps["angular.z"]
    assert turn[:2, :2].min() > 0.0 and np.abs(turn[3:, :]).max() == 0.0 and np.abs(turn[:, 3:]).max() == 0.0
    assert np.abs(found.heatmaps["linear.x"]).max() == 0.0
    assert [(word.word, word.by_axis["linear.x"]) for word in found.words] == [("go", 1.0), ("to", 0.0), ("cup", 0.0)]
    assert found.mirrored is None and not policy.stale and len(seen) == count_steps("go to cup", 8)


def test_the_action_for_the_other_side_stands_beside_it():
    class Sides(Known):
        def step(self, frame, instruction):
            return Action((0.0, 1.0 if "left" in instruction else -1.0), 0.0, 0.0, 1)

    found = explain(Sides(), FRAME, "go left", MIN_GRID)
    assert found.action["angular.z"] == 1.0 and found.mirrored == {"linear.x": 0.0, "angular.z": -1.0}


def test_a_single_word_can_be_left_out():
    (word,) = explain(Known(), FRAME, "go", MIN_GRID).words
    assert word.by_axis["linear.x"] == 1.0


@pytest.mark.parametrize("grid", [0, MIN_GRID - 1, MAX_GRID + 1])
def test_a_grid_that_does_not_fit_is_refused(grid):
    with pytest.raises(InputError, match=f"--grid must be {MIN_GRID} to {MAX_GRID}"):
        explain(Known(), FRAME, "go", grid)


def test_what_is_not_finite_is_not_explained():
    class Broken(Known):
        def step(self, frame, instruction):
            return Action((float("nan"), 0.0), 0.0, 0.0, 1)

    with pytest.raises(InputError, match="not finite"):
        explain(Broken(), FRAME, "go", MIN_GRID)


@pytest.fixture(scope="module")
def trained():
    return load_policy(resolve_path("builtin:tiny"), precision="fp32")


def heat(found):
    """[grid, grid]: how strongly each part moves the action at all."""
    return np.sqrt(sum(added**2 for added in found.heatmaps.values()))


def where(world, without):
    """The cells of the grid in which something stands that is not there in the world `without`."""
    differs = np.abs(world.frame().astype(int) - without.frame()).max(axis=2) > 40
    return cv2.resize(differs.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA) > 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("worlds", "least"), [(8, 7), pytest.param(16, 14, marks=pytest.mark.full)])
def test_boxes_and_cup_light_up_and_the_side_carries_the_turn(trained, worlds, least):
    """In worlds that no training has seen: the floor's parts matter less, and of all words the side most."""
    lit, told = [], []
    for number in range(worlds):
        layout = sample_layout(SCENARIOS[number % len(SCENARIOS)], FIRST_SEED + 700 + number)
        away = replace(layout.cup, x=-50.0)
        world = World(layout)
        things = where(world, World(replace(layout, boxes=(), cup=away)))
        found = explain(trained, world.frame(), layout.scenario.instruction)
        lit.append(heat(found)[things].mean() / heat(found)[~things].mean())
        told.append(max(found.words, key=lambda word: abs(word.by_axis["angular.z"])).word)
    assert sum(ratio > 2.0 for ratio in lit) >= least, lit
    assert sum(word in ("left", "right") for word in told) >= least, told


@pytest.mark.slow
def test_the_cup_alone_lights_up(trained):
    lit = []
    for number in range(8):
        layout = sample_layout(SCENARIOS[number], FIRST_SEED + 700 + number)
        layout = replace(layout, boxes=(), cup=replace(layout.cup, x=1.5, y=0.1 * (number - 4)))
        world = World(layout)
        cup = where(world, World(replace(layout, cup=replace(layout.cup, x=-50.0))))
        found = explain(trained, world.frame(), layout.scenario.instruction)
        lit.append(heat(found)[cup].mean() / heat(found)[~cup].mean())
    assert sum(ratio > 2.0 for ratio in lit) >= 6, lit


def test_the_picture_shows_the_heat_where_it_is(tmp_path):
    found = explain(Known(), FRAME, "go to cup", 8)
    draw_explanation(FRAME, "go to the cup", found, tmp_path / "seen.png")
    nothing = replace(found, heatmaps={axis: 0.0 * added for axis, added in found.heatmaps.items()})
    draw_explanation(FRAME, "go to the cup", nothing, tmp_path / "plain.png")
    seen, plain = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("seen.png", "plain.png"))
    assert seen.shape == plain.shape and min(seen.shape[:2]) > 300
    assert np.abs(seen - plain).max() > 50


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    found = explain(Known(), FRAME, "go", MIN_GRID)
    with pytest.raises(InputError, match="cannot be written"):
        draw_explanation(FRAME, "go", found, tmp_path / "nowhere" / "seen.png")
