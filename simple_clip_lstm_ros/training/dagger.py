"""Examples made in the world for a policy that learns there: views, the expert's drives, and the policy's own.

By the method of Ross, Gordon and Bagnell (2011, DAgger): whoever drives, what is learnt is what the expert would do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
from simple_clip_lstm_ros.sim.expert import Expert
from simple_clip_lstm_ros.sim.instructions import corrupt_words, training_phrases
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.rollouts import PERIOD, LabelledFrames, RolloutPolicy, noisy_expert, rollout, sample_views
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import World
from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
from simple_clip_lstm_ros.training.sequences import Example, make_sequence, mirror

VIEWS = 8  # frames of one example, each of a layout of its own
_CALM = 0.3  # share of drives without a disturbance, and of texts that are the scenario's own
_CORRUPTED = 0.4  # of the other texts
_NOISE = (0.1, 0.5)  # rad/s, of the expert's unsteady hand
_SHARES = (0.0, 0.3, 0.6)  # of a drive of the policy, by stretches, that the expert takes over
_STRETCH = (3, 12)  # frames
_MAX_SECONDS = 20.0  # s: the policy's drives need not be longer, a lost one only repeats itself
_CHANGED = 0.4  # share of drives on which the robot was told the other side at first
_CHANGE = (0.4, 2.5)  # s from the start, until the robot is nearly beside the first box


class DaggerSampler:
    """Each example is told as it is and in the mirror: the same for the same seed and policy.

    Seeds are those of layouts: `views` takes VIEWS of them.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._images = ImagePreprocessor(policy.config, policy.device, torch.float32)
        self._encoders = FeatureExtractor(policy.model, self._images, policy.tokenizer)

    def random_views(self, seed: int) -> Example:
        """Frames that do not follow one another, as images."""
        scenario, rng = self._begin(seed // VIEWS)
        layouts = [sample_layout(scenario, seed + index) for index in range(VIEWS)]
        return self._told(sample_views(layouts, _text(scenario, rng), rng))

    def expert_rollout(self, seed: int) -> Example:
        """The expert drives, mostly with an unsteady hand; as features."""
        scenario, rng = self._begin(seed)
        noise = 0.0 if rng.random() < _CALM else rng.uniform(*_NOISE)
        return self._cached(rollout(_start_world(scenario, seed, rng), _text(scenario, rng), noisy_expert(rng, noise)))

    def policy_rollout(self, seed: int) -> Example:
        """The policy drives, at times the expert; as features."""
        scenario, rng = self._begin(seed)
        text = _text(scenario, rng)
        driver = self._shared(text, rng)
        return self._cached(rollout(_start_world(scenario, seed, rng), text, driver, until=_MAX_SECONDS))

    def _begin(self, seed: int) -> tuple[Scenario, np.random.Generator]:
        self._policy.reset()
        return SCENARIOS[seed % len(SCENARIOS)], np.random.default_rng(seed)

    def _shared(self, text: str, rng: np.random.Generator) -> RolloutPolicy:
        share = rng.choice(_SHARES)
        left, expert = 0, False

        def drive(frame: np.ndarray, right: Velocity) -> Velocity:
            nonlocal left, expert
            if not left:
                left, expert = int(rng.integers(*_STRETCH)), rng.random() < share
            left -= 1
            own = self._policy.step(frame, text).values  # also where the expert drives: it must remember
            return right if expert else Velocity.from_axes(own, self._policy.config.action_axes)

        return drive

    def _cached(self, lesson: LabelledFrames) -> Example:
        one, other = self._told(lesson)
        return self._encoders.cached(one), self._encoders.cached(other)

    def _told(self, lesson: LabelledFrames) -> Example:
        config = self._policy.config
        one = make_sequence(lesson.instruction, lesson.frames, lesson.actions, lesson.landmarks, config, self._images)
        return one, mirror(one, config)


def _start_world(scenario: Scenario, seed: int, rng: np.random.Generator) -> World:
    """A world, at times with the robot on its way to the other side: from there another instruction begins."""
    layout = sample_layout(scenario, seed)
    world, other = World(layout), Expert(replace(layout, scenario=scenario.other_side))
    changed = rng.uniform(*_CHANGE) if rng.random() < _CHANGED else 0.0
    while world.base.time < changed:
        world.command(other(world.base.pose))
        world.advance(PERIOD)
    return world


def _text(scenario: Scenario, rng: np.random.Generator) -> str:
    texts = training_phrases(scenario)
    if rng.random() < _CALM:
        return texts[0]
    text = texts[rng.integers(len(texts))]
    return corrupt_words(text, rng) if rng.random() < _CORRUPTED else text
