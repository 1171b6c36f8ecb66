"""Steps under the clock: they are the policy's own steps, and what they took is told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
from simple_clip_lstm_ros.benchmark.result import GATE, Percentiles, summarize
from simple_clip_lstm_ros.benchmark.step_profile import (
    StepProfile,
    contention,
    disable_text_cache,
    profile_step,
    to_output_trace,
)
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.engine.output_error import trace_outputs
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

AXES = ("linear.x", "angular.z")
COMPONENTS = {"kosmos_vision", "projection", "kosmos_text", "clip_vision", "head"}


@pytest.fixture
def policy(tiny: Path) -> Policy:
    return load_policy(tiny, precision="fp32")


def profile_steps(policy: Policy, count: int = 6) -> list[StepProfile]:
    with ModuleTimer(policy.model) as timer:
        return [profile_step(policy, timer, frame) for frame in sample_crops(count)]


def test_laps_are_the_steps_of_the_policy(policy: Policy) -> None:
    expected = trace_outputs(policy, sample_crops(6))
    found = to_output_trace(profile_steps(policy), policy.config.action_axes)
    assert np.array_equal(found.actions, expected.actions)
    for name, rows in expected.features.items():
        assert np.array_equal(found.features[name], rows.astype(np.float32))


def test_the_components_are_told_apart_and_make_up_most_of_a_frame(policy: Policy) -> None:
    first, *others = profile_steps(policy)
    assert first.components.keys() == COMPONENTS | {"clip_text"}, "the instruction is new"
    for each in others:
        assert each.components.keys() == COMPONENTS, "what only the instruction decides is there already"
        assert all(seconds > 0.0 for seconds in each.components.values())
        assert 0.3 * each.seconds < sum(each.components.values()) < each.seconds


def test_the_baseline_reads_the_text_for_each_frame_and_gives_the_same(policy: Policy) -> None:
    expected = to_output_trace(profile_steps(policy), AXES)
    policy.reset()
    disable_text_cache(policy.model)
    found = profile_steps(policy)
    assert all(each.components.keys() == COMPONENTS | {"clip_text"} for each in found)
    assert np.array_equal(to_output_trace(found, AXES).actions, expected.actions)


def test_a_stopwatch_leaves_the_model_as_it_was(policy: Policy) -> None:
    hooks = lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in policy.model.modules())  # noqa: E731
    before = hooks()
    with ModuleTimer(policy.model):
        assert hooks() > before
    assert hooks() == before


@pytest.mark.serial
def test_it_is_noticed_that_others_use_the_cpus(policy: Policy) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        assert contention(profile_steps(policy, 100)) > 0.2
    finally:
        for process in busy:
            process.kill()
            process.wait()


# What they amount to.


def made(
    seconds: float = 1.0, action: tuple[float, ...] = (0.0, 0.0), own: float = 2.0, others: float = 0.0
) -> StepProfile:
    return StepProfile(
        seconds, own, others, 0, {"head": seconds / 2.0}, {"kosmos_text": np.ones(3, np.float32)}, action
    )


def test_percentiles_are_of_all_laps() -> None:
    found = Percentiles.of([float(n) for n in range(101)])
    assert (found.p50, found.p90, found.p99) == (50.0, 90.0, 99.0)


def test_the_share_of_the_limit_is_that_of_the_median_frame() -> None:
    found = summarize([made(1.0), made(2.0), made(9.0)], {"kosmos_text": 0.3, "head": 0.2}, AXES, None)
    assert found.limit == 0.5 and found.share == 0.25
    assert found.components["head"].p50 == 1.0
    assert (found.error, found.late_error, found.passes) == (None, None, None)


def test_contention_is_the_share_of_the_cpus_that_others_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    found = summarize([made(1.0, others=1.0), made(3.0, others=1.0)], {"head": 1.0}, AXES, None)
    assert found.others == 2.0 / 16.0
    assert found.cores == 4.0 / 4.0


@pytest.mark.parametrize(("factor", "passes"), [(0.98, True), (1.02, False)])
def test_the_gate_is_the_error_of_the_worst_axis_over_its_spread(factor: float, passes: bool) -> None:
    baseline = [made(action=(float(n % 2), float(n % 2))) for n in range(8)]  # a standard deviation of a half
    error = factor * GATE * 0.5
    found = summarize([made(action=(a, b + error)) for a, b in (each.action for each in baseline)], {}, AXES, baseline)
    assert found.error.actions == pytest.approx({"linear.x": 0.0, "angular.z": factor * GATE})
    assert found.passes is passes


def test_an_error_that_grows_shows_in_the_last_quarter() -> None:
    baseline = [made(action=(float(n % 2), 1.0 - n % 2)) for n in range(16)]
    drifting = [made(action=(a + 0.01 * n, b)) for n, (a, b) in enumerate(each.action for each in baseline)]
    found = summarize(drifting, {}, AXES, baseline)
    assert found.late_error.actions["linear.x"] > 1.5 * found.error.actions["linear.x"] > 0.0


@pytest.mark.parametrize(("error", "passes"), [(0.0, True), (1e-9, False)])
def test_a_constant_action_has_no_spread_and_passes_without_an_error_only(error: float, passes: bool) -> None:
    baseline = [made(action=(1.0, float(n))) for n in range(8)]
    found = summarize([made(action=(a + error, b)) for a, b in (each.action for each in baseline)], {}, AXES, baseline)
    assert found.passes is passes


@torch.inference_mode()
def test_features_that_nobody_names_are_not_computed(tiny: Path) -> None:
    seen = {
        ("kosmos_vision",): {"kosmos_vision"},
        ("kosmos_image",): {"kosmos_vision", "projection"},
        ("kosmos_text", "clip_text_embeds"): {"kosmos_vision", "projection", "kosmos_text"},
        ("clip_image_embeds",): {"clip_vision"},
    }
    policy = load_policy(tiny, precision="fp32")
    frame = next(sample_crops(1))
    for number, (features, components) in enumerate(seen.items()):
        object.__setattr__(policy.model.config, "features", features)
        with ModuleTimer(policy.model) as timer:
            assert list(policy.features(frame, f"go to box {number}")) == list(features)
            assert timer.pop_seconds().keys() - {"clip_text"} == components
