"""Nothing in a file may run: what a pickle may name, and what happens to one that names anything else."""

from __future__ import annotations

import argparse
import collections
import contextlib
import pickle
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.archive import Archive
from simple_clip_lstm_ros.checkpoint.unpickler import RestrictedUnpickler, TensorRef
from simple_clip_lstm_ros.errors import CheckpointError


class Trap:
    """Pickles as the call of `function`, whatever the reader is."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _os_system(marker: Path) -> tuple[Any, str]:
    import os

    return Trap(os.system, f"touch {marker}"), "system"


def _eval(marker: Path) -> tuple[Any, str]:
    return Trap(eval, f"open({str(marker)!r}, 'w')"), "eval"


def _open(marker: Path) -> tuple[Any, str]:
    return Trap(open, str(marker), "w"), "open"


def _nested(marker: Path) -> tuple[Any, str]:
    """The call hides in what is given to a call that is allowed, within metadata within a Namespace."""
    hidden = Trap(collections.OrderedDict, [("key", Trap(eval, f"open({str(marker)!r}, 'w')"))])
    return argparse.Namespace(learning_rate=1e-4, extra=[{"deep": (hidden,)}]), "eval"


def _getattr(marker: Path) -> tuple[Any, str]:
    """Would reach everything from a class that is allowed."""
    return Trap(getattr, argparse.Namespace, "__init__"), "getattr"


def _torch_load(marker: Path) -> tuple[Any, str]:
    return Trap(torch.load, str(marker)), "load"


def _path_touch(marker: Path) -> tuple[Any, str]:
    return Trap(Path.touch, marker), "(touch|getattr)"


TRAPS = [_os_system, _eval, _open, _nested, _getattr, _torch_load, _path_touch]


@pytest.mark.parametrize("kind", ["zip", "bare", "in the state dict"])
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__.strip("_"))
def test_a_pickle_that_would_run_code_is_refused_by_name_and_runs_nothing(tmp_path: Path, trap: Any, kind: str) -> None:
    marker, file = tmp_path / "marker", tmp_path / "model.pth"
    content, culprit = trap(marker)
    if kind == "bare":
        file.write_bytes(pickle.dumps({"epoch": 1, "payload": content}))
    elif kind == "zip":
        torch.save(content, file)
    else:
        torch.save({"model_state_dict": {"rnn.weight_ih_l0": torch.ones(2), "hook": content}}, file)

    with pytest.raises(CheckpointError, match=rf"refused.*{culprit}.*nothing was run"):
        Archive.open(file)
    assert not marker.exists()


@pytest.mark.parametrize("trap", [_os_system, _eval], ids=["os_system", "eval"])
def test_the_traps_of_this_file_do_spring_in_an_unrestricted_reader(tmp_path: Path, trap: Any) -> None:
    """Otherwise the tests above would show nothing."""
    marker = tmp_path / "marker"
    content, _ = trap(marker)
    pickle.loads(pickle.dumps(content))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_of_any_protocol_runs_nothing(tmp_path: Path, protocol: int) -> None:
    marker, file = tmp_path / "marker", tmp_path / "model.pth"
    file.write_bytes(pickle.dumps(_os_system(marker)[0], protocol=protocol))
    with pytest.raises(CheckpointError):
        Archive.open(file)
    assert not marker.exists()


def test_a_trap_in_the_legacy_format_runs_nothing(tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "model.pth"
    torch.save(_os_system(marker)[0], file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError):
        Archive.open(file)
    assert not marker.exists()


def test_a_trap_in_a_truncated_file_runs_nothing(tmp_path: Path) -> None:
    """What tells the expected length reads the pickle too."""
    marker, file = tmp_path / "marker", tmp_path / "model.pth"
    torch.save([_os_system(marker)[0], torch.ones(10_000)], file)
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(CheckpointError):
        Archive.open(file)
    assert not marker.exists()


def test_the_error_names_module_and_function(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"some\.pth .*refused.*builtins\.eval"):
        RestrictedUnpickler.load(pickle.dumps(_eval(tmp_path)[0]), "some.pth")


def _load(value: Any, protocol: int = 2) -> Any:
    return RestrictedUnpickler.load(pickle.dumps(value, protocol=protocol), "some.pth")


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    ("value", "read"),
    [
        (argparse.Namespace(lr=1e-4, tags=["a", "b"]), argparse.Namespace(lr=1e-4, tags=["a", "b"])),
        (collections.OrderedDict(b=1, a=2), collections.OrderedDict(b=1, a=2)),
        (PurePosixPath("/data/run 1"), PurePosixPath("/data/run 1")),
        (PureWindowsPath("D:/data"), PureWindowsPath("D:/data")),
        (Path("relative/dir"), PurePosixPath("relative/dir")),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(2.5), 2.5),
        (np.array([2.5], ">f8")[0], 2.5),
        (np.int64(-3), -3),
        (np.uint8(200), 200),
        (np.bool_(True), True),
        (np.str_("robot"), "robot"),
        (np.complex64(1 + 2j), 1 + 2j),
        (torch.Size([2, 3]), (2, 3)),
        (torch.float16, torch.float16),
        ({"nested": [(1, None), b"\xff\x00", 1e400]}, {"nested": [(1, None), b"\xff\x00", float("inf")]}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_data_is_read_in_every_protocol(value: Any, read: Any, protocol: int) -> None:
    found = _load(value, protocol)
    assert found == read
    assert isinstance(found, type(read))


def test_a_numpy_scalar_of_python_objects_is_refused() -> None:
    """Its bytes would be taken for pointers."""
    scalar = np._core.multiarray.scalar if hasattr(np, "_core") else np.core.multiarray.scalar
    with pytest.raises(CheckpointError):
        _load(Trap(scalar, np.dtype("O"), b"\x01" * 8))


@pytest.mark.parametrize("value", [torch.device("cpu"), {1, 2}, np.ones(2), 1j, range(3), Exception("x")], ids=repr)
def test_what_is_not_on_the_list_is_refused_even_if_harmless(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"refused.*pickle"):
        _load(value)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_keeps_its_type_and_values(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1, 2], [3, 4, 100]]).to(dtype)
    torch.save({"w": tensor}, tmp_path / "w.pth")
    archive = Archive.open(tmp_path / "w.pth")
    found = archive.map_tensor(archive.content["w"]).view()
    assert found.dtype == dtype
    assert torch.equal(found, tensor)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_a_tensor_of_a_type_that_no_policy_has_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({"w": torch.zeros(3).to(dtype)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"refused.*torch"):
        Archive.open(tmp_path / "w.pth")


def test_a_tensor_becomes_a_reference_to_its_storage(tmp_path: Path) -> None:
    storage = torch.arange(24.0)
    torch.save({"view": storage[4:16].view(3, 4).t()}, tmp_path / "view.pth")
    assert Archive.open(tmp_path / "view.pth").content["view"] == TensorRef("0", torch.float32, 24, 4, (4, 3), (1, 4))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("argparse", "Namespace"),
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("pathlib", "PosixPath"),
        ("torch._utils", "_rebuild_tensor_v2"),
    ],
)
def test_a_pickle_cannot_change_the_class_or_function_that_it_names(module: str, name: str) -> None:
    """They live on in this process: argparse.Namespace, for one, would give every later command line its options."""
    named = b"\x80\x02" + f"c{module}\n{name}\n".encode()
    # BUILD with a slot state is a setattr on what stands on the stack: here, on the class itself.
    planting = named + b"N}X\x07\x00\x00\x00plantedK\x01s\x86b."
    with contextlib.suppress(CheckpointError):
        RestrictedUnpickler.load(planting, "some.pth")
    found = RestrictedUnpickler.load(named + b".", "some.pth")

    changed = [thing for thing in {found, argparse.Namespace} if hasattr(thing, "planted")]
    for thing in changed:
        del thing.planted
    assert not changed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x63}.",
        b"\x80\x02h\x07.",
        b"\x80\x02U\xffabc",
        b"\x80\x02cargparse\nNamespace\n)\x81}(X\x01\x00\x00\x00ab.",
        b"\x80\x02U\x05helloQ.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(tR.",
        b"\x80\x02cnumpy\ndtype\nX\x05\x00\x00\x00bogus\x85R.",
        b"\x80\x02cpathlib\nPosixPath\nK\x01\x85R.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02]" + b"K\x01" * 3 + b"\x85" * 2,
    ],
    ids=repr,
)  # fmt: skip
def test_a_damaged_pickle_is_told_as_such(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged pickle"):
        RestrictedUnpickler.load(data, "some.pth")
