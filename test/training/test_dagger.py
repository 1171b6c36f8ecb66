"""Examples from the world, for one that learns there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.sim.instructions import swap_left_right
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.rollouts import LANDMARKS
from simple_clip_lstm_ros.sim.scenario import SCENARIOS
from simple_clip_lstm_ros.training.dagger import VIEWS, DaggerSampler
from simple_clip_lstm_ros.training.sequences import Example


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> DaggerSampler:
    from simple_clip_lstm_ros.checkpoint.random_checkpoint import write_random_checkpoint

    path = tmp_path_factory.mktemp("teacher") / "tiny.pth"
    write_random_checkpoint("tiny", path)
    return DaggerSampler(load_policy(Path(path), precision="fp32"))


def same(one: Example, other: Example) -> bool:
    return all(
        a.instruction == b.instruction and torch.equal(a.actions, b.actions) for a, b in zip(one, other, strict=True)
    )


def test_views_are_images_of_many_worlds_and_their_mirror(teacher: DaggerSampler) -> None:
    one, other = teacher.random_views(16)
    assert one.features is None and one.resized.kosmos.shape[0] == VIEWS == len(one.actions)
    assert other.instruction == swap_left_right(one.instruction) != one.instruction
    assert torch.equal(one.resized.kosmos, other.resized.kosmos.flip(-1))
    assert one.landmarks.shape == (VIEWS, len(LANDMARKS), 2)


@pytest.mark.parametrize("kind", ["expert_rollout", "policy_rollout"])
def test_drives_are_what_the_encoders_make_of_them(teacher: DaggerSampler, kind: str) -> None:
    one, other = getattr(teacher, kind)(3)
    assert one.resized is None and other.resized is None
    assert all(len(feature) == len(one.actions) for feature in one.features.values())
    assert torch.equal(one.actions, other.actions * torch.tensor([1.0, -1.0]))
    assert not torch.equal(one.features["clip_image_embeds"], other.features["clip_image_embeds"])


@pytest.mark.parametrize("kind", ["random_views", "expert_rollout", "policy_rollout"])
def test_a_seed_gives_the_same_example_and_another_seed_another(teacher: DaggerSampler, kind: str) -> None:
    teach = getattr(teacher, kind)
    assert same(teach(8), teach(8)) and not same(teach(8), teach(72))


def test_whoever_drives_it_is_the_expert_s_word_that_is_learnt(teacher: DaggerSampler) -> None:
    """An untrained policy goes astray; what the expert says there still leads to the cup: never all the same."""
    one, _ = teacher.policy_rollout(4)
    assert one.actions.std(dim=0).min() > 0.0 and one.actions[:, 0].min() >= 0.0


@pytest.mark.parametrize("kind", ["expert_rollout", pytest.param("policy_rollout", marks=pytest.mark.full)])
def test_some_drives_begin_where_the_way_to_the_other_side_has_led(teacher: DaggerSampler, kind: str) -> None:
    """As after a new instruction, from which a policy goes on with a fresh hidden state: far on, it turns around."""
    turns = []
    for seed in range(0, 8 * 24, 8):
        one, _ = getattr(teacher, kind)(seed)
        layout = sample_layout(SCENARIOS[0], seed)
        assert layout.scenario.side == "left"
        begun = math.hypot(layout.cup.x - layout.start.x, layout.cup.y - layout.start.y)
        if math.hypot(*one.landmarks[0, 0].tolist()) < begun - 0.3:
            turns.append(one.actions[0, 1].item())
    assert 3 <= len(turns) <= 15 and min(turns) > 0.3
