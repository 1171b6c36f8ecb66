"""Several files of tensors: each within its size, an index that Hugging Face's tools read, and the same policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from simple_clip_lstm_ros.checkpoint.bundle import ShardWriter, TensorSpec, plan_shards
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.policy import Policy

LIMIT = 500_000


@pytest.fixture(scope="module", params=["fp32", pytest.param("int8", marks=pytest.mark.int8)])
def sharded(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sharded") / request.param
    convert(tiny, path, precision=request.param, shard_bytes=LIMIT)
    return path


def test_the_index_leads_to_every_tensor(sharded: Path) -> None:
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    files = sorted(file.name for file in sharded.glob("*.safetensors"))
    count = len(files)
    assert count > 2
    assert files == [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    held, size = {}, 0
    for file in files:
        tensors = load_file(sharded / file)
        own = sum(tensor.nbytes for tensor in tensors.values())
        assert own <= LIMIT or len(tensors) == 1
        held |= dict.fromkeys(tensors, file)
        size += own
    assert index == {"metadata": {"total_size": size}, "weight_map": held}


def test_shards_hold_and_act_as_one_file(
    sharded: Path, bundles: dict[str, Path], act: Callable[[Policy], np.ndarray]
) -> None:
    whole = bundles[sharded.name]
    parts = {name: t for file in sharded.glob("*.safetensors") for name, t in load_file(file).items()}
    one = load_file(whole / "model.safetensors")
    assert parts.keys() == one.keys()
    assert all(torch.equal(parts[name], one[name]) for name in one)
    np.testing.assert_array_equal(act(load_policy(sharded)), act(load_policy(whole)))


def test_one_file_has_no_index(bundles: dict[str, Path]) -> None:
    assert [file.name for file in bundles["fp32"].glob("model*")] == ["model.safetensors"]


def test_a_shard_of_nothing_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one byte"):
        convert(tiny, tmp_path / "bundle", shard_bytes=0)


def test_tensors_are_aligned_as_in_a_checkpoint_of_torch(sharded: Path, bundles: dict[str, Path]) -> None:
    """Elsewhere the processor takes other instructions, and the actions differ in their last bits."""
    for bundle in (sharded, *(bundles[precision] for precision in ("fp32", "bf16", "fp16"))):
        stored = open_checkpoint(bundle).tensors
        assert not {name: s.offset for name, s in stored.items() if s.nbytes % 64 == 0 and s.offset % 64}
        assert not {name: s.offset for name, s in stored.items() if s.offset % s.dtype.itemsize}


dtypes = st.sampled_from((torch.float32, torch.float16, torch.bfloat16, torch.int8))
shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)


@settings(max_examples=30, deadline=None)
@given(kinds=st.lists(st.tuples(dtypes, shapes), min_size=1, max_size=8), limit=st.integers(1, 300), data=st.data())
def test_any_tensors_in_any_order_of_writing_are_read_back_by_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: list[tuple[torch.dtype, tuple[int, ...]]],
    limit: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    entries = [TensorSpec(f"tensor {index} \u00e9.weight", dtype, shape) for index, (dtype, shape) in enumerate(kinds)]
    values = {e.name: torch.randint(-99, 99, e.shape or (1,)).reshape(e.shape).to(e.dtype) for e in entries}
    shards = plan_shards(entries, limit)
    with ShardWriter(folder, shards) as writer:
        for name in data.draw(st.permutations(sorted(values))):
            tensor = values[name]
            rows = range(len(tensor)) if tensor.ndim else [0]
            for row in data.draw(st.permutations(list(rows))):
                writer.write(name, row, tensor[row : row + 1] if tensor.ndim else tensor)
    found = {}
    for shard in shards:
        with safe_open(folder / shard.file, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        assert (folder / shard.file).stat().st_size == shard.nbytes
        own = sum(prod(values[name].shape) * values[name].dtype.itemsize for name in shard.offsets)
        assert own <= limit or len(shard.offsets) == 1
    assert found.keys() == values.keys()
    assert all(torch.equal(found[name], values[name]) and found[name].dtype == values[name].dtype for name in values)
