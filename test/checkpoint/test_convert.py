"""convert: a bundle acts as its source does at that precision, holds its values, and is complete in itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simple_clip_lstm_ros import __version__
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.inspect_report import build_report
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.policy import Policy

State = dict[str, torch.Tensor]
Save = Callable[..., Path]
Act = Callable[[Policy], np.ndarray]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _config(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "config.json").read_text())


def _files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=pytest.mark.int8)])
def test_a_bundle_acts_bit_for_bit_as_its_source_at_that_precision(
    tiny: Path, bundles: dict[str, Path], act: Act, precision: str
) -> None:
    policy = load_policy(bundles[precision], precision=precision)
    np.testing.assert_array_equal(act(policy), act(load_policy(tiny, precision=precision)))


@pytest.mark.int8
def test_precisions_differ(bundles: dict[str, Path], act: Act) -> None:
    """Equality of a bundle and its source would show nothing if the precision were ignored."""
    found = [act(load_policy(bundles[name])) for name in ("fp32", "bf16", "int8")]
    assert not any(np.array_equal(a, b) for a, b in zip(found, [*found[1:], found[0]], strict=True))


def test_fp16_is_for_a_gpu_and_can_be_written_and_widened_without_one(
    bundles: dict[str, Path], state: State, save: Save, act: Act
) -> None:
    encoders = ("kosmos_model.", "clip_model.")
    rounded = {name: t.half().float() if name.startswith(encoders) else t for name, t in state.items()}
    np.testing.assert_array_equal(act(load_policy(bundles["fp16"], precision="fp32")), act(load_policy(save(rounded))))
    assert load_policy(bundles["fp16"]).precision == "fp32", "bfloat16 would round float16"


@pytest.mark.parametrize("precision", DTYPES)
def test_the_safetensors_library_reads_the_very_values(bundles: dict[str, Path], state: State, precision: str) -> None:
    found = load_file(bundles[precision] / "model.safetensors")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        wanted = DTYPES[precision] if name.startswith(("kosmos_model.", "clip_model.")) else torch.float32
        assert found[name].dtype == wanted, name
        assert torch.equal(found[name], tensor.to(wanted)), name


def test_without_a_precision_that_of_the_source_is_kept(state: State, save: Save, tmp_path: Path) -> None:
    source = save({name: tensor.bfloat16() for name, tensor in state.items()})
    convert(source, tmp_path / "bundle")
    assert _config(tmp_path / "bundle")["precision"] == "bf16"
    # What decides the action is float32 always, and holds what the file held.
    found = load_file(tmp_path / "bundle" / "model.safetensors")
    assert torch.equal(found["rnn.weight_hh_l0"], state["rnn.weight_hh_l0"].bfloat16().float())


def test_a_half_that_cannot_hold_a_weight_is_refused(state: State, save: Save, tmp_path: Path) -> None:
    state["clip_model.text_projection.weight"][0, 0] = 7e4
    with pytest.raises(CheckpointError, match=r"clip_model\.text_projection\.weight holds .* as float16"):
        convert(save(state), tmp_path / "bundle", precision="fp16")
    assert not list(tmp_path.glob("bundle*"))


@pytest.mark.int8
def test_sha256sum_accepts_it_and_covers_every_file(bundles: dict[str, Path]) -> None:
    bundle = bundles["int8"]
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == _files(bundle) - {"SHA256SUMS"}


def test_processors_come_along_and_weights_and_caches_do_not(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    shutil.copytree(f"{tiny}.processors", folder)
    wanted = _files(folder)
    for kind in folder.iterdir():
        for name in ("pytorch_model.bin", "model.safetensors", "tf_model.h5", ".cache/huggingface/x", ".gitattributes"):
            (kind / name).parent.mkdir(parents=True, exist_ok=True)
            (kind / name).write_bytes(b"weights")
    convert(tiny, tmp_path / "bundle", processors=folder)
    assert _files(tmp_path / "bundle" / "processors") == wanted
    for name in wanted:
        assert (tmp_path / "bundle" / "processors" / name).read_bytes() == (folder / name).read_bytes()


def test_the_config_tells_policy_origin_and_version(content: dict[str, Any], save: Save, tmp_path: Path) -> None:
    source = save(content | {"epoch": 7, "val_mae": 0.25})
    convert(source, tmp_path / "bundle")
    config = _config(tmp_path / "bundle")
    assert PolicyConfig.from_dict(config["policy_config"]) == load_policy(source).config
    assert config["package_version"] == __version__
    assert config["precision"] == "fp32"
    assert config["origin"] == {
        "file": source.name,
        "bytes": source.stat().st_size,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "epoch": 7,
        "val_mae": 0.25,
    }


def test_a_number_that_json_has_no_word_for_is_null(content: dict[str, Any], save: Save, tmp_path: Path) -> None:
    convert(save(content | {"val_mae": float("nan")}), tmp_path / "bundle")
    assert _config(tmp_path / "bundle")["origin"]["val_mae"] is None


def test_the_optimizer_stays_behind(content: dict[str, Any], save: Save, tmp_path: Path) -> None:
    plain = save(content, "plain.pth")
    moments = {index: torch.zeros(200_000) for index in range(10)}
    heavy = save(content | {"optimizer_state_dict": {"state": moments}}, "heavy.pth")
    assert heavy.stat().st_size > 2 * plain.stat().st_size
    for source in (plain, heavy):
        convert(source, tmp_path / f"{source.stem} bundle")
    sizes = [(tmp_path / f"{name} bundle" / "model.safetensors").stat().st_size for name in ("plain", "heavy")]
    assert sizes[0] == sizes[1]


def test_it_loads_elsewhere_on_its_own_and_offline(
    tiny: Path, tmp_path: Path, act: Act, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was attempted")

    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(tiny, source / "model.pth")
    shutil.copytree(f"{tiny}.processors", source / "processors")
    convert(source / "model.pth", source / "bundle")
    (tmp_path / "robot").mkdir()
    shutil.move(source / "bundle", tmp_path / "robot" / "renamed")
    shutil.rmtree(source)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path / "robot")
    np.testing.assert_array_equal(act(load_policy("renamed")), expected)


def test_a_bundle_of_a_bundle_keeps_the_origin_and_acts_alike(
    tiny: Path, bundles: dict[str, Path], tmp_path: Path, act: Act
) -> None:
    convert(bundles["fp32"], tmp_path / "second", precision="bf16")
    convert(tmp_path / "second", tmp_path / "third")
    assert _config(tmp_path / "third")["origin"] == _config(bundles["fp32"])["origin"]
    assert _config(tmp_path / "third")["origin"]["file"] == tiny.name
    np.testing.assert_array_equal(act(load_policy(tmp_path / "third")), act(load_policy(bundles["bf16"])))


@pytest.mark.int8
def test_int8_of_int8_is_the_same(bundles: dict[str, Path], tmp_path: Path) -> None:
    convert(bundles["int8"], tmp_path / "again")
    again, first = (load_file(folder / "model.safetensors") for folder in (tmp_path / "again", bundles["int8"]))
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], first[name]) for name in first)


@pytest.mark.int8
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_int8_does_not_go_back(bundles: dict[str, Path], tmp_path: Path, precision: str) -> None:
    with pytest.raises(ConfigError, match="int8 and cannot go back; convert their source again"):
        convert(bundles["int8"], tmp_path / "wide", precision=precision)
    with pytest.raises(ConfigError, match="int8 and cannot go back"):
        load_policy(bundles["int8"], precision=precision)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["auto", "int4", "float32"])
def test_a_precision_that_is_none_of_a_bundle_is_refused(tiny: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(ConfigError, match="precision"):
        convert(tiny, tmp_path / "bundle", precision=precision)
    assert not list(tmp_path.iterdir())


def test_what_is_assumed_stays_assumed_until_it_is_stated(state: State, save: Save, tmp_path: Path) -> None:
    source = save(state)
    convert(source, tmp_path / "bundle")
    convert(source, tmp_path / "stated", config={"prompt": "<image>{instruction}"})
    assumed = load_policy(source).config.assumed
    assert "prompt" in assumed
    assert load_policy(tmp_path / "bundle").config.assumed == assumed
    assert set(load_policy(tmp_path / "stated").config.assumed) == set(assumed) - {"prompt"}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", pytest.param("int8", marks=pytest.mark.int8)])
def test_a_bundle_still_says_that_its_weights_are_untrained(bundles: dict[str, Path], precision: str) -> None:
    bundle = bundles[precision]
    assert load_policy(bundle, precision="auto").config.untrained
    assert build_report(bundle, {})["untrained"]
    assert build_report(bundle, {})["problem"] == ""


def test_progress_is_told_of_each_part_up_to_its_total(tiny: Path, tmp_path: Path) -> None:
    calls: dict[str, list[tuple[int, int]]] = {}
    convert(tiny, tmp_path / "b", report=lambda what, done, total: calls.setdefault(what, []).append((done, total)))
    assert list(calls) == ["writing tensors", "checksum of the source", "checksums of the bundle"]
    for told in calls.values():
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == told[-1][1] > 0
    assert calls["checksum of the source"][-1][1] == tiny.stat().st_size
    assert calls["writing tensors"][-1][1] == sum(stored.nbytes for stored in open_checkpoint(tiny).tensors.values())
