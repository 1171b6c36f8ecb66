"""Opening a `.pth`: what is refused before any weight is looked at, and how the refusal reads."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.archive import Archive
from simple_clip_lstm_ros.errors import CheckpointError

SMALL = {"weights": torch.arange(20_000.0), "more": torch.ones(3, 4)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def test_a_missing_file_is_told_as_missing(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth does not exist"):
        Archive.open(file)


def test_a_folder_is_told_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        Archive.open(tmp_path)


def test_a_file_that_may_not_be_read_is_told_with_the_reason(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not stop root, so the system's answer is played.
    file.write_bytes(b"PK\x03\x04")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        Archive.open(file)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (b"", "is empty"),
        (b"epoch,loss\n1,0.5\n", "not .*torch.save"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7789\n", "not .*torch.save"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not .*torch.save"),
        (pickle.dumps({"weights": [1.0, 2.0]}), "is a bare pickle"),
        (b"PK\x03\x04", "is incomplete: 4 bytes"),
    ],
)
def test_what_is_no_checkpoint_is_told_as_such(file: Path, held: bytes, reason: str) -> None:
    file.write_bytes(held)
    with pytest.raises(CheckpointError, match=reason):
        Archive.open(file)


def test_the_legacy_format_is_refused_with_the_way_to_convert_it(file: Path) -> None:
    torch.save(SMALL, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"legacy format.*torch\.save it again"):
        Archive.open(file)


@pytest.mark.parametrize("writer", ["synth", "torch.save"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.98, -200, -1], ids=str)
def test_a_truncated_file_tells_how_long_it_is_and_should_be(
    tiny: Path, file: Path, writer: str, kept: float | int
) -> None:
    if writer == "torch.save":
        torch.save(torch.load(tiny, weights_only=False), file)
    whole = (tiny if writer == "synth" else file).read_bytes()
    length = kept + len(whole) if kept < 0 else int(kept * len(whole))
    file.write_bytes(whole[:length])

    with pytest.raises(CheckpointError, match=f"is incomplete: {length} bytes, expected at least") as raised:
        Archive.open(file)
    least = int(re.search(r"at least (\d+)", str(raised.value))[1])
    assert length < least <= len(whole)


@pytest.mark.parametrize("length", [20, 45, 700])
def test_a_file_cut_off_within_its_first_record_is_incomplete_too(tiny: Path, file: Path, length: int) -> None:
    file.write_bytes(tiny.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=f"is incomplete: {length} bytes"):
        Archive.open(file)


def test_a_zip_of_something_else_is_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("slides/page1.xml", "<xml/>")
    with pytest.raises(CheckpointError, match=r"not of torch\.save.*data\.pkl"):
        Archive.open(file)


def test_a_checkpoint_that_was_zipped_again_is_refused(file: Path) -> None:
    torch.save(SMALL, file)
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="compressed"):
        Archive.open(file)


def test_a_record_that_is_missing_is_told_as_damage(file: Path) -> None:
    torch.save(SMALL, file)
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/data/1")}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"damaged.*\[3, 4\]"):
        Archive.open(file)


@dataclass
class _Forged:
    """A tensor whose pickle has fields of our choosing; an honest one would be [3, 4] in storage 1."""

    shape: object = (3, 4)
    stride: object = (4, 1)
    offset: object = 0
    numel: object = 12

    def __reduce__(self) -> tuple:
        return torch._utils._rebuild_tensor_v2, (_Stored(self.numel), self.offset, self.shape, self.stride, False, {})


@dataclass
class _Stored:
    numel: object


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return ("storage", torch.FloatStorage, "1", "cpu", obj.numel) if isinstance(obj, _Stored) else None


def _with_forged(file: Path, forged: _Forged) -> Path:
    """A real file whose data.pkl was exchanged."""
    torch.save(SMALL, file)
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump({"w": forged})
    with zipfile.ZipFile(file) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, held in records.items():
            archive.writestr(name, buffer.getvalue() if name.endswith("/data.pkl") else held)
    return file


@pytest.mark.parametrize(
    "forged",
    [
        _Forged(shape=(3, 5), stride=(5, 1)),
        _Forged(stride=(400_000, 1)),
        _Forged(offset=1),
        _Forged(offset=-1),
        _Forged(stride=(-4, 1)),
        _Forged(shape=(-3, 4)),
        _Forged(numel=10**9),
        _Forged(numel=-1),
        _Forged(stride=(4,)),
        _Forged(shape=("a", 4)),
        _Forged(stride=(0.5, 1)),
        _Forged(shape=5),
        _Forged(numel="many"),
    ],
    ids=repr,
)
def test_a_tensor_that_its_storage_cannot_hold_is_refused(file: Path, forged: _Forged) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Archive.open(_with_forged(file, forged))


def test_the_same_forgery_with_honest_fields_is_read(file: Path) -> None:
    archive = Archive.open(_with_forged(file, _Forged()))
    assert torch.equal(archive.map_tensor(archive.content["w"]).view(), SMALL["more"])


def test_an_object_that_holds_itself_is_refused_and_not_followed_for_ever(file: Path) -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop
    torch.save(loop, file)
    with pytest.raises(CheckpointError):
        Archive.open(file)


def test_a_tensor_is_a_view_of_the_map_until_it_is_changed(file: Path) -> None:
    torch.save(SMALL, file)
    before = file.read_bytes()
    archive = Archive.open(file)
    tensor = archive.map_tensor(archive.content["weights"]).view()
    assert torch.equal(tensor, SMALL["weights"])
    tensor.zero_()
    assert file.read_bytes() == before, "the file itself must never be written"


def test_the_file_may_be_deleted_while_it_is_mapped(file: Path) -> None:
    torch.save(SMALL, file)
    archive = Archive.open(file)
    os.unlink(file)
    assert torch.equal(archive.map_tensor(archive.content["weights"]).view(), SMALL["weights"])
