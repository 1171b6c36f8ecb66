"""benchmarks/memory.py in small: what each way of loading takes, as shares of the file, and what was predicted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.engine.cpu import has_int8_dot

ROOT = Path(__file__).parent.parent
BUNDLES = ("fp32", "bf16", "int8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.int8,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"),
]


def write_wide(path: Path) -> None:
    """The tiny profile with more and wider feed-forward layers: 340 MB, nearly all of it there as in a real file.

    None of them is large beside the whole, nor is what a step makes of them, as in a real model.
    """
    tiny = REFERENCE_CONFIGS["tiny"]
    kosmos = tiny.kosmos | {"text_config": tiny.kosmos["text_config"] | {"ffn_dim": 20_000, "layers": 14}}
    vision = tiny.clip["vision_config"] | {"intermediate_size": 6_000, "num_hidden_layers": 8}
    clip = tiny.clip | {"vision_config": vision}
    config = replace(tiny, kosmos=kosmos, clip=clip)
    state = {name: torch.full(shape, 0.001) for name, shape in expected_shapes(build_model(config)).items()}
    torch.save({"model_state_dict": state, "policy_config": config.to_dict()}, path)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("wide") / "wide.pth"
    write_wide(path)
    yield path
    shutil.rmtree(path.parent)


@pytest.fixture(scope="module")
def rows(tiny: Path, wide: Path) -> dict[str, dict]:
    """The benchmark's rows by name, memory as a share of the file, above what is anonymous with a mapped bundle."""
    command = [sys.executable, ROOT / "benchmarks" / "memory.py", wide, "--processors", f"{tiny}.processors"]
    ran = subprocess.run(
        ["timeout", "-s", "KILL", "300", *command, "--json", "--no-limits"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = {row["what"]: row for row in json.loads(ran.stdout)}
    # The least of the three: what a step takes for a moment (packed matrices) is in a sample or is not.
    size, base = wide.stat().st_size / 1e9, min(found[f"load and step {each} bundle"]["anonymous"] for each in BUNDLES)
    for row in found.values():
        for kind in ("anonymous", "resident"):
            row[kind] = (row[kind] - base) / size
    return found


def test_the_naive_way_holds_the_model_and_the_file(rows: dict[str, dict]) -> None:
    # Both for a moment only: the kernel's high-water mark has seen it, a sample may not have.
    assert rows["naive: build, torch.load, load_state_dict"]["resident"] > 1.6


def test_from_the_file_a_cast_takes_its_result_and_no_cast_takes_nothing(rows: dict[str, dict]) -> None:
    assert rows["load and step fp32 from .pth"]["anonymous"] < 0.15
    assert 0.4 < rows["load and step bf16 from .pth"]["anonymous"] < 0.65
    # Where a CPU multiplies int8, weights are packed, and what that takes for a moment is in a sample or is not.
    most = 0.45 if has_int8_dot() else 0.4
    assert 0.15 < rows["load and step int8 from .pth"]["anonymous"] < most


@pytest.mark.parametrize("precision", BUNDLES)
def test_converting_takes_little_and_a_bundle_stays_mapped(rows: dict[str, dict], precision: str) -> None:
    assert rows[f"convert {precision}"]["anonymous"] < 0.25
    assert rows[f"load and step {precision} bundle"]["anonymous"] < 0.2


def test_what_is_predicted_is_within_15_percent_of_what_is_needed(rows: dict[str, dict]) -> None:
    measured = {name: (row["predicted"], row["need"]) for name, row in rows.items() if row["need"] is not None}
    assert len(measured) == 2 * len(BUNDLES)
    for name, (predicted, need) in measured.items():
        assert abs(predicted - need) <= 0.15 * need, f"{name}: {predicted:.3f} predicted, {need:.3f} needed"


def test_where_the_naive_way_is_killed_a_bundle_steps(
    rows: dict[str, dict], tiny: Path, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a memory cgroup, as in a container: of less than the model twice over the libraries."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from watch import watch

    limit = int(rows["load and step fp32 bundle"]["predicted"] * 1e9 + 0.25 * wide.stat().st_size)
    child = [sys.executable, ROOT / "benchmarks" / "memory.py", "--child"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    try:
        naive = watch([*child, "naive", wide], limit=limit, environment=environment)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    assert naive.killed
    bundle = watch([*child, "load", wide.parent / "wide-fp32"], limit=limit, environment=environment)
    assert bundle.code == 0 and json.loads(bundle.output)["step"] > 0.0
