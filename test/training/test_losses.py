"""Sequences and the learner: as the policy that is served, and able to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint import load_policy
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.sim.rollouts import LANDMARKS
from simple_clip_lstm_ros.training.feature_extractor import FeatureExtractor
from simple_clip_lstm_ros.training.losses import BehaviorCloningLoss, EncoderPretrainingLoss
from simple_clip_lstm_ros.training.sequences import TrainingSequence, make_sequence, mirror

CPU = torch.device("cpu")
SPREAD = torch.tensor([0.2, 0.5])
TEXT = "go around the left side of the box"


@pytest.fixture
def policy(tiny: Path) -> Policy:
    return load_policy(tiny, precision="fp32", config={"action_scale": [2.0, 0.5], "action_offset": [0.1, 0.0]})


@pytest.fixture
def images(policy: Policy) -> ImagePreprocessor:
    return ImagePreprocessor(policy.config, CPU, torch.float32)


@pytest.fixture
def encoders(policy: Policy, images: ImagePreprocessor) -> FeatureExtractor:
    return FeatureExtractor(policy.model, images, policy.tokenizer)


@pytest.fixture
def learner(policy: Policy, encoders: FeatureExtractor) -> BehaviorCloningLoss:
    return BehaviorCloningLoss(policy.model, encoders, 0, SPREAD)


def given(
    policy: Policy, images: ImagePreprocessor, length: int = 6, text: str = TEXT, seed: int = 0
) -> TrainingSequence:
    rng = np.random.default_rng(seed)
    actions = rng.normal(0.0, 0.3, (length, 3)).astype(np.float32)
    landmarks = rng.normal(0.0, 1.0, (length, len(LANDMARKS), 2)).astype(np.float32)
    return make_sequence(text, sample_crops(length, seed=seed), actions, landmarks, policy.config, images)


def test_a_sequence_is_predicted_as_the_policy_steps_it(
    policy: Policy, images: ImagePreprocessor, learner: BehaviorCloningLoss
) -> None:
    """The same pixels, tokens, carried state, scale and offset: training and serving cannot differ."""
    with torch.inference_mode():
        predicted = learner.predict([given(policy, images)])
    policy.reset()
    stepped = [policy.step(frame, TEXT).values for frame in sample_crops(6, seed=0)]
    assert predicted.numpy() == pytest.approx(np.array(stepped), abs=1e-5)


def test_each_sequence_of_a_batch_is_as_if_alone(
    policy: Policy, images: ImagePreprocessor, learner: BehaviorCloningLoss
) -> None:
    several = [given(policy, images, 5), given(policy, images, 3, "go right", 1), given(policy, images, 7, seed=2)]
    with torch.inference_mode():
        together = learner.predict(several)
        alone = torch.cat([learner.predict([each]) for each in several])
    assert together.numpy() == pytest.approx(alone.numpy(), abs=1e-5)


def test_cached_features_stand_for_the_images(policy, images, encoders, learner) -> None:
    """Of more frames than the encoders take at once."""
    one = given(policy, images, 70)
    cached = encoders.precompute(one)
    assert cached.resized is None
    with torch.inference_mode():
        assert learner.predict([cached]).numpy() == pytest.approx(learner.predict([one]).numpy(), abs=1e-6)


def test_the_loss_counts_errors_by_the_spread_and_known_landmarks_only(policy, images, encoders) -> None:
    torch.manual_seed(0)
    learner = BehaviorCloningLoss(policy.model, encoders, len(LANDMARKS), SPREAD)
    one = given(policy, images)
    with torch.no_grad():
        exact = one._replace(actions=learner.predict([one]), landmarks=torch.full_like(one.landmarks, float("nan")))
        assert learner([exact]) == pytest.approx(0.0, abs=1e-6)
        off = exact._replace(actions=exact.actions + SPREAD, landmarks=one.landmarks)
        lower = BehaviorCloningLoss(policy.model, encoders, 0, SPREAD)
        assert lower([off]) == pytest.approx(1.0 - 0.15, abs=1e-4)  # one spread off, beta 0.3
        assert learner([off]) > lower([off])


def test_the_mirror_turns_left_to_right(policy: Policy, images: ImagePreprocessor) -> None:
    one = given(policy, images)
    other = mirror(one, policy.config)
    assert other.instruction == TEXT.replace("left", "right")
    assert torch.equal(other.resized.kosmos.flip(-1), one.resized.kosmos)
    assert torch.equal(other.resized.clip.flip(-1), one.resized.clip)
    assert torch.equal(other.actions, one.actions * torch.tensor([1.0, -1.0]))
    assert torch.equal(other.landmarks[..., 1], -one.landmarks[..., 1])
    again = mirror(other, policy.config)
    assert again.instruction == TEXT and torch.equal(again.actions, one.actions)


def learns(learner: torch.nn.Module, batch: list[TrainingSequence]) -> bool:
    learner.requires_grad_(True)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = learner(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[-1] < 0.5 * losses[0]


def reached(*modules: torch.nn.Module) -> bool:
    """By the last gradient, each of them."""
    return all(any(weight.grad is not None and weight.grad.any() for weight in each.parameters()) for each in modules)


def test_it_learns(policy: Policy, images: ImagePreprocessor, encoders: FeatureExtractor) -> None:
    """The whole model, encoders and all: the loss on two short sequences falls to a fraction."""
    torch.manual_seed(0)
    batch = [given(policy, images, 4), given(policy, images, 4, "go right", 1)]
    model = policy.model
    assert learns(BehaviorCloningLoss(model, encoders, len(LANDMARKS), SPREAD), batch)
    assert reached(model.kosmos_model.vision_model, model.kosmos_model.text_model, model.clip_model, model.rnn)


def test_eyes_learn_alone(policy: Policy, images: ImagePreprocessor, encoders: FeatureExtractor) -> None:
    """From single frames, some landmarks of which are out of view: encoders and fusion, and no memory."""
    torch.manual_seed(0)
    one = given(policy, images, 6)
    one.landmarks[2:4, 0] = float("nan")
    model = policy.model
    assert learns(
        EncoderPretrainingLoss(model, encoders, len(LANDMARKS), SPREAD), [one, given(policy, images, 4, "go right", 1)]
    )
    towers = (model.kosmos_model.vision_model, model.kosmos_model.text_model, model.clip_model.vision_model)
    assert reached(*towers, model.clip_model.text_model, model.feature_fusion) and not reached(model.rnn)


def test_nothing_in_view_is_no_division_by_zero(
    policy: Policy, images: ImagePreprocessor, encoders: FeatureExtractor
) -> None:
    one = given(policy, images, 2)
    one.landmarks[:] = float("nan")
    assert EncoderPretrainingLoss(policy.model, encoders, len(LANDMARKS), SPREAD)([one]).isfinite()
