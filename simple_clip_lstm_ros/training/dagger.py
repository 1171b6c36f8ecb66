"""Generate training examples in simulation: random views, expert rollouts and policy rollouts.

Method: DAgger (Ross, Gordon and Bagnell 2011). The labels are always the expert's actions, regardless of who drives.
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

VIEWS = 8  # frames of one example, each of another layout
_NO_NOISE = 0.3  # share of rollouts without noise
_OWN_INSTRUCTION = 0.3  # share of texts that are the scenario's own instruction
_CORRUPTED = 0.4  # share of the other texts
_NOISE = (0.1, 0.5)  # rad/s, range of the standard deviation of the expert's noise
_EXPERT_SHARES = (0.0, 0.3, 0.6)  # share of the segments of a policy rollout that the expert drives
_SEGMENT = (3, 12)  # frames
_MAX_SECONDS = 20.0  # s: longer policy rollouts add nothing, a lost policy only repeats itself
_CHANGED = 0.4  # share of drives that start with the instruction for the other side
_CHANGE = (0.4, 2.5)  # s from the start to the change, at most until the robot is almost next to the first box


class DaggerSampler:
    """Samples examples, each with its mirror image; deterministic for a seed and policy.

    A seed is that of a layout; `random_views` uses VIEWS consecutive seeds.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._preprocessor = ImagePreprocessor(policy.config, policy.device, torch.float32)
        self._feature_extractor = FeatureExtractor(policy.model, self._preprocessor, policy.tokenizer)

    def random_views(self, seed: int) -> Example:
        """Return single frames from different layouts, as images."""
        scenario, rng = self._start(seed // VIEWS)
        layouts = [sample_layout(scenario, seed + index) for index in range(VIEWS)]
        return self._make_example(sample_views(layouts, _sample_text(scenario, rng), rng))

    def expert_rollout(self, seed: int) -> Example:
        """Return a drive of the expert, mostly with noise, as features."""
        scenario, rng = self._start(seed)
        noise = 0.0 if rng.random() < _NO_NOISE else rng.uniform(*_NOISE)
        world = _start_world(scenario, seed, rng)
        return self._to_features(rollout(world, _sample_text(scenario, rng), noisy_expert(rng, noise)))

    def policy_rollout(self, seed: int) -> Example:
        """Return a drive of the policy, with some segments driven by the expert, as features."""
        scenario, rng = self._start(seed)
        text = _sample_text(scenario, rng)
        mixture = self._mix_with_expert(text, rng)
        return self._to_features(rollout(_start_world(scenario, seed, rng), text, mixture, until=_MAX_SECONDS))

    def _start(self, seed: int) -> tuple[Scenario, np.random.Generator]:
        self._policy.reset()
        return SCENARIOS[seed % len(SCENARIOS)], np.random.default_rng(seed)

    def _mix_with_expert(self, text: str, rng: np.random.Generator) -> RolloutPolicy:
        expert_share = rng.choice(_EXPERT_SHARES)
        remaining, expert_drives = 0, False

        def drive(frame: np.ndarray, expert_velocity: Velocity) -> Velocity:
            nonlocal remaining, expert_drives
            if not remaining:
                remaining, expert_drives = int(rng.integers(*_SEGMENT)), rng.random() < expert_share
            remaining -= 1
            values = self._policy.step(frame, text).values  # even if the expert drives: updates the hidden state
            return expert_velocity if expert_drives else Velocity.from_axes(values, self._policy.config.action_axes)

        return drive

    def _to_features(self, labelled: LabelledFrames) -> Example:
        original, mirrored = self._make_example(labelled)
        return self._feature_extractor.precompute(original), self._feature_extractor.precompute(mirrored)

    def _make_example(self, labelled: LabelledFrames) -> Example:
        config = self._policy.config
        original = make_sequence(
            labelled.instruction, labelled.frames, labelled.actions, labelled.landmarks, config, self._preprocessor
        )
        return original, mirror(original, config)


def _start_world(scenario: Scenario, seed: int, rng: np.random.Generator) -> World:
    """Create a world, in which the robot may have driven toward the other side first.

    The rollout then starts there, as after a change of instruction.
    """
    layout = sample_layout(scenario, seed)
    world, other_expert = World(layout), Expert(replace(layout, scenario=scenario.other_side))
    change_time = rng.uniform(*_CHANGE) if rng.random() < _CHANGED else 0.0
    while world.base.time < change_time:
        world.command(other_expert(world.base.pose))
        world.advance(PERIOD)
    return world


def _sample_text(scenario: Scenario, rng: np.random.Generator) -> str:
    phrases = training_phrases(scenario)
    if rng.random() < _OWN_INSTRUCTION:
        return phrases[0]
    text = phrases[rng.integers(len(phrases))]
    return corrupt_words(text, rng) if rng.random() < _CORRUPTED else text
