"""Restricted unpickler: tensors, OrderedDict, Namespace, paths and NumPy scalars; anything else is refused by name.

Names in a pickle are replaced by functions and classes of this module, so that no code chosen by the file ever runs.
"""

from __future__ import annotations

import argparse
import collections
import io
import pathlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simple_clip_lstm_ros.errors import CheckpointError


@dataclass(frozen=True)
class TensorRef:
    """Location of a tensor: storage `key` of `storage_numel` elements, and the view of it. Strides in elements."""

    key: str
    dtype: torch.dtype
    storage_numel: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    numel: int


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles data only. Raises CheckpointError for a pickle that names anything else."""

    def __init__(self, file: Any, source: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._source = source

    @classmethod
    def load(cls, data: bytes, source: str) -> Any:  # type: ignore[override]
        """Return the object in `data`. `source` names the file in errors."""
        try:
            return cls(io.BytesIO(data), source).load_checked()
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{source} holds a damaged pickle ({error}); copy it again") from None

    def load_checked(self) -> Any:
        """Load as pickle.Unpickler.load does, with one error for all failures of a broken pickle."""
        try:
            return super().load()
        except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise pickle.UnpicklingError(str(error)) from None

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) not in _ALLOWED:
            raise CheckpointError(
                f"{self._source} is refused: its pickle asks for {module}.{name}, which is code and not data; nothing "
                "was run. Use a file from a source that you trust, or save its tensors alone with torch.save"
            )
        allowed = _ALLOWED[module, name]
        return allowed if isinstance(allowed, type) else _Call(allowed)

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        return _Storage(str(key), dtype, int(numel))


class _Call:
    """A function for a pickle to call. It has no attributes: BUILD would set those of a plain function."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set")


class _Sealed(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set")


class _Namespace(argparse.Namespace, metaclass=_Sealed):
    """A substitute for argparse.Namespace, which would keep attributes set by a pickle for later command lines."""


def _tensor(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> TensorRef:
    return TensorRef(storage.key, storage.dtype, storage.numel, int(offset), tuple(shape), tuple(stride))


def _parameter(data: TensorRef, *_: Any) -> TensorRef:
    return data


def _path(*parts: str) -> pathlib.PurePath:
    return pathlib.PurePosixPath(*parts)


def _windows_path(*parts: str) -> pathlib.PurePath:
    return pathlib.PureWindowsPath(*parts)


class _DType:
    """A substitute for numpy.dtype, whose own __setstate__ trusts its argument."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufcSU":
            raise pickle.UnpicklingError(f"NumPy scalar of type {code}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


def _numpy_scalar(dtype: _DType, data: bytes) -> Any:
    return np.frombuffer(data, dtype.dtype, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as a latin-1 string.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin-1")


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("argparse", "Namespace"): _Namespace,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _DType,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_module, "scalar"] = _numpy_scalar
for _module in ("pathlib", "pathlib._local"):
    for _name in ("Path", "PosixPath", "PurePath", "PurePosixPath"):
        _ALLOWED[_module, _name] = _path
    for _name in ("WindowsPath", "PureWindowsPath"):
        _ALLOWED[_module, _name] = _windows_path
