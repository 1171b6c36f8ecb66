"""Sequences and the learner: as the policy that is served, and able to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.data.demonstrations import LANDMARKS
from simple_clip_lstm_ros.data.learner import Learner
from simple_clip_lstm_ros.data.sequences import Sequence, mirror, sequence
from simple_clip_lstm_ros.policy.inputs import Images, Texts
from simple_clip_lstm_ros.policy.photographs import crops
from simple_clip_lstm_ros.policy.policy import Policy

CPU = torch.device("cpu")
SPREAD = torch.tensor([0.2, 0.5])
TEXT = "go around the left side of the box"


@pytest.fixture
def policy(tiny: Path) -> Policy:
    return load_policy(tiny, precision="fp32", config={"action_scale": [2.0, 0.5], "action_offset": [0.1, 0.0]})


@pytest.fixture
def images(policy: Policy) -> Images:
    return Images(policy.config, CPU, torch.float32)


@pytest.fixture
def learner(policy: Policy, tiny: Path, images: Images) -> Learner:
    return Learner(policy.model, images, Texts(Path(f"{tiny}.processors"), policy.config, CPU), 0, SPREAD, 1.0)


def given(policy: Policy, images: Images, length: int = 6, text: str = TEXT, seed: int = 0) -> Sequence:
    rng = np.random.default_rng(seed)
    actions = rng.normal(0.0, 0.3, (length, 3)).astype(np.float32)
    landmarks = rng.normal(0.0, 1.0, (length, len(LANDMARKS), 2)).astype(np.float32)
    return sequence(text, crops(length, seed=seed), actions, landmarks, policy.config, images)


def test_a_sequence_is_predicted_as_the_policy_steps_it(policy: Policy, images: Images, learner: Learner) -> None:
    """The same pixels, tokens, carried state, scale and offset: training and serving cannot differ."""
    with torch.inference_mode():
        predicted = learner.predicted([given(policy, images)])
    policy.reset()
    stepped = [policy.step(frame, TEXT).values for frame in crops(6, seed=0)]
    assert predicted.numpy() == pytest.approx(np.array(stepped), abs=1e-5)


def test_each_sequence_of_a_batch_is_as_if_alone(policy: Policy, images: Images, learner: Learner) -> None:
    several = [given(policy, images, 5), given(policy, images, 3, "go right", 1), given(policy, images, 7, seed=2)]
    with torch.inference_mode():
        together = learner.predicted(several)
        alone = torch.cat([learner.predicted([each]) for each in several])
    assert together.numpy() == pytest.approx(alone.numpy(), abs=1e-5)


def test_features_that_are_given_are_not_computed_again(policy: Policy, images: Images, learner: Learner) -> None:
    one = given(policy, images)
    with torch.inference_mode():
        computed = learner._features(one)
        blank = one._replace(sized=one.sized._replace(kosmos=torch.zeros(0), clip=None), features=computed)
        assert torch.equal(learner.predicted([blank]), learner.predicted([one]))


def test_the_loss_counts_errors_by_the_spread_and_known_landmarks_only(policy, tiny, images) -> None:
    texts = Texts(Path(f"{tiny}.processors"), policy.config, CPU)
    torch.manual_seed(0)
    learner = Learner(policy.model, images, texts, len(LANDMARKS), SPREAD, 1.0)
    one = given(policy, images)
    with torch.no_grad():
        exact = one._replace(actions=learner.predicted([one]), landmarks=torch.full_like(one.landmarks, float("nan")))
        assert learner([exact]) == pytest.approx(0.0, abs=1e-6)
        off = exact._replace(actions=exact.actions + SPREAD, landmarks=one.landmarks)
        lower = Learner(policy.model, images, texts, 0, SPREAD, 1.0)
        assert lower([off]) == pytest.approx(1.0 - 0.15, abs=1e-4)  # one spread off, beta 0.3
        assert learner([off]) > lower([off])


def test_the_mirror_turns_left_to_right(policy: Policy, images: Images) -> None:
    one = given(policy, images)
    other = mirror(one, policy.config)
    assert other.instruction == TEXT.replace("left", "right")
    assert torch.equal(other.sized.kosmos.flip(-1), one.sized.kosmos)
    assert torch.equal(other.sized.clip.flip(-1), one.sized.clip)
    assert torch.equal(other.actions, one.actions * torch.tensor([1.0, -1.0]))
    assert torch.equal(other.landmarks[..., 1], -one.landmarks[..., 1])
    again = mirror(other, policy.config)
    assert again.instruction == TEXT and torch.equal(again.actions, one.actions)


def test_it_learns(policy: Policy, tiny: Path, images: Images) -> None:
    """The whole model, encoders and all: the loss on two short sequences falls to a fraction."""
    torch.manual_seed(0)
    texts = Texts(Path(f"{tiny}.processors"), policy.config, CPU)
    learner = Learner(policy.model, images, texts, len(LANDMARKS), SPREAD, 1.0)
    learner.requires_grad_(True)
    batch = [given(policy, images, 4), given(policy, images, 4, "go right", 1)]
    optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = learner(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    towers = (policy.model.kosmos_model.vision_model, policy.model.kosmos_model.text_model, policy.model.clip_model)
    assert all(any(weight.grad is not None and weight.grad.any() for weight in tower.parameters()) for tower in towers)
