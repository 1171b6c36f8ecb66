"""Bundles, precisions, budgets and cut models in the node; and what it tells of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.engine.cgroup import read_cgroup

pytestmark = [pytest.mark.ros, pytest.mark.int8]

OK, WARN = b"\x00", b"\x01"


@pytest.fixture(scope="module")
def bundles(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    for precision in ("fp32", "bf16", "int8"):
        convert(tiny, folder / precision, precision=precision)
    return {precision: str(folder / precision) for precision in ("fp32", "bf16", "int8")}


@pytest.fixture
def written(tmp_path: Path):
    """Settings as a YAML file."""

    def write(**settings) -> str:
        file = tmp_path / "policy.yaml"
        file.write_text(yaml.safe_dump(settings))
        return str(file)

    return write


def told(bench, **expected: str) -> dict[str, str]:
    """Diagnostics, once they say this."""
    bench.until(lambda: expected.items() <= bench.diagnostics.items(), f"diagnostics with {expected}")
    return bench.diagnostics


# Bundles and precisions.


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_bundle_drives_at_its_own_precision(bench, bundles, precision):
    bench.drive(checkpoint=bundles[precision], precision=precision)
    bench.until(bench.has_moved, "a movement")
    assert told(bench, precision=precision)["checkpoint"] == bundles[precision]


def test_int8_of_a_training_file_drives(bench):
    bench.drive(precision="int8")
    bench.until(bench.has_moved, "a movement")
    told(bench, precision="int8")


def test_the_log_says_what_was_chosen_and_what_it_needs(bench):
    before = len(bench.process.log)
    assert bench.configure()
    bench.until(lambda: "fp32 eager on cpu: needs " in bench.process.log[before:], "the choice")
    told(bench, precision="fp32", device="cpu")


def test_a_bundle_cannot_be_widened(bench, bundles):
    assert not bench.configure(checkpoint=bundles["int8"], precision="fp32")
    bench.until(lambda: "cannot be converted back" in bench.reason, "the reason")
    assert bench.configure(checkpoint=bundles["int8"])


# Budgets.

REFUSED = {
    "too small": (0.1, "does not fit into 0.1 GB"),
    "more than there is": (1e6, "memory_budget_gb 1e+06"),
    "negative": (-1.0, "a size in GB"),
    "not a number": (float("nan"), "a size in GB"),
    "infinite": (float("inf"), "a size in GB"),
    "text": ("much", "memory_budget_gb: 'much' is not a float"),
}


@pytest.mark.parametrize(("budget", "why"), REFUSED.values(), ids=list(REFUSED))
def test_a_budget_fails_configure_that_is(bench, budget, why):
    before = len(bench.process.log)
    assert not bench.configure(memory_budget_gb=budget)
    bench.until(lambda: why in bench.reason, "the reason")
    assert bench.reason.startswith("INACTIVE:") and "configure failed: " in bench.reason and "\n" not in bench.reason
    bench.until(lambda: why in bench.process.log[before:], "the reason in the log")
    assert "Traceback" not in bench.process.log[before:]
    assert bench.state == "unconfigured"
    assert bench.configure(memory_budget_gb=0), "and without one it works"


def test_a_budget_that_suffices_is_told(bench):
    before = len(bench.process.log)
    assert bench.configure(memory_budget_gb=2)
    bench.until(lambda: "there are 2.0 GB" in bench.process.log[before:], "the budget")


# Memory in diagnostics.


def process_of(bench) -> psutil.Process:
    return psutil.Process(bench.process.pid)


def megabytes(bench, figure: str) -> int:
    return int(bench.diagnostics[f"{figure} (MB)"])


def test_diagnostics_tell_the_memory_of_process_and_machine(bench):
    assert bench.configure()
    told(bench, device="cpu")

    def check():
        resident = process_of(bench).memory_info().rss / 1e6
        anonymous = sum(part.anonymous for part in process_of(bench).memory_maps(grouped=True)) / 1e6
        assert megabytes(bench, "process resident") == pytest.approx(resident, rel=0.05)
        assert megabytes(bench, "process anonymous") == pytest.approx(anonymous, rel=0.05)

    bench.until(lambda: _holds(check), "the process's memory in diagnostics")
    assert megabytes(bench, "process peak") >= megabytes(bench, "process resident")
    machine = psutil.virtual_memory()
    assert megabytes(bench, "machine total") == machine.total // 1_000_000
    assert 0 < megabytes(bench, "machine available") <= megabytes(bench, "machine total")


def _holds(check) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


def test_diagnostics_tell_the_limit_of_a_container_where_there_is_one(bench):
    assert bench.configure()
    told(bench, device="cpu")
    limit = read_cgroup()  # the node is in the group of this test
    assert ("container limit (MB)" in bench.diagnostics) == (limit is not None)
    if limit:
        assert megabytes(bench, "container limit") == limit.limit // 1_000_000
        assert 0 < megabytes(bench, "container used") <= megabytes(bench, "container limit")


def test_before_configure_there_are_memory_figures_too(bench):
    bench.diagnostics.clear()
    bench.until(lambda: "process resident (MB)" in bench.diagnostics, "a figure")
    assert "precision" not in bench.diagnostics


# Cut models.


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny checkpoint, as if it were trained: there is no other doubt about it."""
    content = torch.load(tiny, weights_only=False)
    content["policy_config"]["untrained"] = False
    path = tmp_path_factory.mktemp("trained") / "trained.pth"
    torch.save(content, path)
    (path.parent / "processors").symlink_to(f"{tiny}.processors")
    return str(path)


CUTS = {
    "layers": ({"layers": {"kosmos_text": 1}}, "kosmos_text has layers 0 only"),
    "image": ({"image_size": 32}, "images are reduced to 28 for kosmos, 32 for clip"),
    "both": (
        {"layers": {"clip_vision": [1], "rnn": 3}, "image_size": 45},
        "clip_vision has layers 1 only; rnn has layers 0-2 only; images are reduced to 42 for kosmos, 32 for clip",
    ),
}


@pytest.mark.parametrize(("settings", "words"), CUTS.values(), ids=list(CUTS))
def test_a_cut_model_drives_and_is_warned_of(bench, trained, written, settings, words):
    before = len(bench.process.log)
    bench.drive(checkpoint=trained, policy_config=written(**settings))
    warning = f"the model is pruned: {words}; its actions differ from the whole model's"
    bench.until(lambda: warning in bench.process.log[before:], "the warning")
    (line,) = (line for line in bench.process.log[before:].splitlines() if warning in line)
    assert "[WARN]" in line
    told(bench, cut=words)
    assert bench.level == WARN


def test_a_whole_model_is_not_warned_of(bench, trained):
    before = len(bench.process.log)
    bench.drive(checkpoint=trained)
    told(bench, cut="")
    bench.until(lambda: bench.level == OK, "diagnostics without a doubt")
    assert "the model is pruned" not in bench.process.log[before:]


def test_a_cut_that_cannot_be_is_refused(bench, written):
    for settings, why in (({"layers": {"kosmos_text": 3}}, "has the layers 0 to 1"), ({"image_size": 8}, "image_size")):
        assert not bench.configure(policy_config=written(**settings))
        bench.until(lambda why=why: why in bench.reason, "the reason")


# Again and again.


@pytest.fixture(scope="module")
def wide(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny profile with long feed-forward layers: 220 MB in float32, so that they are seen among the libraries."""
    profile = REFERENCE_CONFIGS["tiny"]
    config = replace(
        profile, kosmos=profile.kosmos | {"text_config": profile.kosmos["text_config"] | {"ffn_dim": 100_000}}
    )
    path = tmp_path_factory.mktemp("wide") / "wide.pth"
    state = {name: torch.full(shape, 0.001) for name, shape in expected_shapes(build_model(config)).items()}
    torch.save({"model_state_dict": state, "policy_config": config.to_dict()}, path)
    (path.parent / "processors").symlink_to(f"{tiny}.processors")
    return str(path)


def anonymous(bench) -> float:
    return sum(part.anonymous for part in process_of(bench).memory_maps(grouped=True)) / 1e6


def test_cleanup_gives_the_memory_back_and_another_precision_may_follow(bench, wide):
    taken, kept = [], []
    # The first round brings libraries and their buffers, which stay.
    for precision in ("fp32", "int8", "bf16") * 2:
        assert bench.configure(checkpoint=wide, precision=precision), bench.process.log
        told(bench, precision=precision)
        taken.append(anonymous(bench))
        assert bench.transition("cleanup")
        kept.append(anonymous(bench))
    told_figures = f"MB taken {list(map(round, taken))}, kept {list(map(round, kept))}"
    assert taken[-1] - kept[-1] > 50, told_figures
    # Three more models, of 50 to 100 MB each in int8 and bfloat16; threads scatter some of what they free.
    assert kept[-1] - kept[2] < 60, told_figures
