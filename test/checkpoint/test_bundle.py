"""What is no whole bundle is refused in one line that says what to do; what was changed is found by name."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.verify import verify
from simple_clip_lstm_ros.errors import CheckpointError, SimpleClipLstmError

WEIGHTS = "model.safetensors"


@pytest.fixture
def bundle(bundles: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(bundles["fp32"], tmp_path / "bundle")


@pytest.fixture
def int8(bundles: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(bundles["int8"], tmp_path / "int8")


def _refusal(path: Path, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as raised:
        load_policy(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


def _edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    change(config)
    (bundle / "config.json").write_text(json.dumps(config))


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _names(bundle: Path) -> list[str]:
    return sorted(f.relative_to(bundle).as_posix() for f in bundle.rglob("*") if f.is_file() and f.name != "SHA256SUMS")


def test_a_bundle_lacks_each_of_its_files(bundle: Path) -> None:
    for name in _names(bundle):
        (bundle / name).rename(bundle.parent / "aside")
        assert has_words(_refusal(bundle), name, "copy it again")
        (bundle.parent / "aside").rename(bundle / name)
    load_policy(bundle)


def has_words(message: str, *words: str) -> bool:
    return all(word in message for word in words)


@pytest.mark.parametrize("name", ["notes.txt", "processors/.cache/x", "model-2.safetensors", ".DS_Store"])
def test_a_file_too_many_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("x")
    assert has_words(_refusal(bundle), name, "remove")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_weights_that_were_cut_off_are_incomplete(bundle: Path, share: float) -> None:
    data = (bundle / WEIGHTS).read_bytes()
    (bundle / WEIGHTS).write_bytes(data[: int(share * len(data))])
    assert has_words(_refusal(bundle), WEIGHTS, "incomplete")


@pytest.mark.slow
def test_a_damaged_header_of_the_weights_never_gets_through_unnoticed(bundle: Path) -> None:
    """It is refused, or it says the same; not one flipped byte gives a traceback."""
    whole = (bundle / WEIGHTS).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(0)
    for place in [*range(8), *chance.sample(range(8, header), 150)]:
        data = bytearray(whole)
        data[place] = chance.choice([byte for byte in b'\x00\xff{}[]",:0129AFaz \\' if byte != whole[place]])
        (bundle / WEIGHTS).write_bytes(data)
        try:
            load_policy(bundle)
        except SimpleClipLstmError as error:
            assert "\n" not in str(error)
            continue
        assert whole[place : place + 1] in b" ", f"byte {place}: {whole[place - 20 : place + 20]!r}"


@pytest.mark.parametrize(
    "name", ["config.json", "processors/clip-tiny/tokenizer_config.json", "processors/kosmos-tiny/tokenizer.json"]
)
def test_a_small_file_that_was_edited_is_found_when_loading(bundle: Path, name: str) -> None:
    _flip(bundle / name, 20)
    assert has_words(_refusal(bundle), name, "written")


def test_verify_finds_any_flipped_byte_by_name(bundle: Path) -> None:
    calls: list[tuple[int, int]] = []
    verified = verify(bundle, lambda done, total: calls.append((done, total)))
    assert sorted(verified.files) == _names(bundle) and not verified.broken
    size = sum((bundle / name).stat().st_size for name in _names(bundle))
    assert calls[-1] == (size, size)
    for name in _names(bundle):
        whole = (bundle / name).read_bytes()
        _flip(bundle / name, len(whole) - 2)
        assert verify(bundle, lambda done, total: None).broken == {name: "its checksum differs"}
        (bundle / name).write_bytes(whole)


def test_verify_names_all_that_is_broken_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "shards", shard_bytes=500_000)
    shards = sorted(path.name for path in (tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 3
    os.truncate(tmp_path / "shards" / shards[1], 100_000)
    (tmp_path / "shards" / shards[2]).unlink()
    verified = verify(tmp_path / "shards", lambda done, total: None)
    assert verified.broken == {shards[1]: "its checksum differs", shards[2]: "missing"}
    assert has_words(str(verified), f"2 of {len(verified.files)} files", f": {shards[1]} (")


def test_verify_holds_whole_files_against_one_another_too(bundle: Path, stamp: Callable[[Path], None]) -> None:
    """A bundle whose manifest was made anew over a foreign config is not a bundle."""
    _edit(bundle, lambda c: c.pop("policy_config"))
    stamp(bundle)
    with pytest.raises(CheckpointError, match="has no policy_config"):
        verify(bundle, lambda done, total: None)


CONTRADICTIONS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "precision": (lambda c: c.update(precision="bf16"), "says bf16 but the tensors are fp32"),
    "no precision": (lambda c: c.pop("precision"), "the tensors are fp32"),
    "layers": (lambda c: c["policy_config"]["kosmos"]["text_config"].update(layers=3), "kosmos_model: 20 missing"),
    "rnn": (lambda c: c["policy_config"].update(rnn_num_layers=3), "rnn: 4 unexpected"),
    "no policy_config": (lambda c: c.pop("policy_config"), "has no policy_config"),
    "another format": (lambda c: c.update(format="onnx"), "bundle of this package"),
    "newer": (lambda c: c.update(format_version=2, package_version="9.9"), "format 2 (written by 9.9)"),
    "no version": (lambda c: c.pop("format_version"), "format None"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_config_that_contradicts_the_tensors_is_refused_whether_its_checksum_fits_or_not(
    bundle: Path, stamp: Callable[[Path], None], case: str
) -> None:
    change, reason = CONTRADICTIONS[case]
    _edit(bundle, change)
    assert has_words(_refusal(bundle), "config.json", "written")
    stamp(bundle)
    assert reason in _refusal(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\u0000", '{"format": 3}'])
def test_a_config_that_is_none_is_refused(bundle: Path, stamp: Callable[[Path], None], text: str) -> None:
    (bundle / "config.json").write_text(text)
    stamp(bundle)
    assert "config.json is" in _refusal(bundle)


def test_a_config_that_fits_no_model_is_refused(bundle: Path, stamp: Callable[[Path], None]) -> None:
    _edit(bundle, lambda c: c["policy_config"].update(features=["kosmos_text"]))
    stamp(bundle)
    with pytest.raises(SimpleClipLstmError, match="add up to"):
        load_policy(bundle)


def test_without_checksums_it_is_no_whole_bundle(bundle: Path, tmp_path: Path) -> None:
    (bundle / "SHA256SUMS").unlink()
    assert "SHA256SUMS" in _refusal(bundle)
    (tmp_path / "empty").mkdir()
    assert "bundle" in _refusal(tmp_path / "empty")


@pytest.mark.parametrize("garbage", [b"\x00\xff\x80", b"hello\n", b"0" * 64 + b" config.json\n", b"\n"])
def test_checksums_that_are_garbage_are_damaged(bundle: Path, garbage: bytes) -> None:
    (bundle / "SHA256SUMS").write_bytes(garbage)
    assert has_words(_refusal(bundle), "SHA256SUMS", "copy it again")


@pytest.mark.parametrize("kept", range(9))
def test_checksums_that_were_cut_off_are_no_reason_to_remove_the_weights(bundle: Path, kept: int) -> None:
    lines = (bundle / "SHA256SUMS").read_text().splitlines(keepends=True)
    assert kept < len(lines)
    (bundle / "SHA256SUMS").write_text("".join(lines[:kept]))
    assert "remove" not in _refusal(bundle)


def test_no_name_in_the_checksums_leads_out_of_the_folder(bundle: Path) -> None:
    (bundle.parent / "secret").write_text("x")
    with (bundle / "SHA256SUMS").open("a") as file:
        file.write("0" * 64 + "  ../secret\n")
    assert "lacks ../secret" in _refusal(bundle)


def _int8_weight(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in tensors.items() if tensor.dtype == torch.int8)


SCALES: dict[str, Callable[[dict[str, torch.Tensor], str], object]] = {
    "no scale": lambda tensors, name: tensors.pop(f"{name}_scale"),
    "no weight": lambda tensors, name: tensors.pop(name),
    "a scale of other rows": lambda tensors, name: tensors.update({f"{name}_scale": torch.ones(3, 1)}),
    "a scale of another dtype": lambda t, name: t.update({f"{name}_scale": t[f"{name}_scale"].bfloat16()}),
    "a scale of a wide weight": lambda tensors, name: tensors.update({name: tensors[name].float()}),
    "an int8 LSTM": lambda tensors, name: tensors.update(
        {"rnn.weight_hh_l1": tensors["rnn.weight_hh_l1"].char(), "rnn.weight_hh_l1_scale": torch.ones(192, 1)}
    ),
    "an int8 fusion with its scale": lambda tensors, name: tensors.update(
        {"feature_fusion.weight": torch.ones(96, 400).char(), "feature_fusion.weight_scale": torch.ones(96, 1)}
    ),
}


@pytest.mark.int8
@pytest.mark.parametrize("case", SCALES)
def test_int8_weights_and_their_scales_belong_together(int8: Path, stamp: Callable[[Path], None], case: str) -> None:
    tensors = load_file(int8 / WEIGHTS)
    SCALES[case](tensors, _int8_weight(tensors))
    save_file(tensors, int8 / WEIGHTS)
    stamp(int8)
    _refusal(int8)


def test_a_tensor_in_two_files_is_refused(bundle: Path, stamp: Callable[[Path], None]) -> None:
    save_file({"rnn.bias_hh_l0": torch.ones(192)}, bundle / "model-2.safetensors")
    stamp(bundle)
    assert "holds rnn.bias_hh_l0 twice" in _refusal(bundle)


def test_a_dtype_that_no_bundle_holds_is_refused(bundle: Path, stamp: Callable[[Path], None]) -> None:
    tensors = load_file(bundle / WEIGHTS)
    save_file(tensors | {"rnn.bias_hh_l0": torch.ones(192).long()}, bundle / WEIGHTS)
    stamp(bundle)
    assert "rnn.bias_hh_l0 is stored as I64" in _refusal(bundle)
