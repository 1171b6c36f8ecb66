"""Tensors of a checkpoint in the dtype and layout of a precision and a backend, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from simple_clip_lstm_ros.checkpoint.mapped_file import MappedTensor, empty_mmap
from simple_clip_lstm_ros.engine.linear_backends import ExecutionConfig
from simple_clip_lstm_ros.engine.memory import trim_heap
from simple_clip_lstm_ros.engine.quantization import SCALE_DTYPE, quantize
from simple_clip_lstm_ros.errors import CheckpointError


@dataclass(frozen=True)
class TensorCast:
    """The tensor `name`, as stored and as requested.

    `scale` [rows, 1] belongs to a tensor that is stored as int8. `checked` tensors are known to be finite.
    """

    name: str
    stored: MappedTensor
    scale: MappedTensor | None
    dtype: torch.dtype
    checked: bool

    @property
    def is_as_stored(self) -> bool:
        return self.stored.dtype == self.dtype

    @property
    def nbytes(self) -> int:
        """Return the bytes of the requested tensor with its scales."""
        scales = prod(self.scale_shape) * SCALE_DTYPE.itemsize if self.dtype == torch.int8 else 0
        return prod(self.stored.shape) * self.dtype.itemsize + scales

    @property
    def scale_shape(self) -> tuple[int, int]:
        return (self.stored.shape[0], 1)

    def iter_chunks(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Yield some rows, their values and, for int8, their scales.

        Raise CheckpointError for values that are not finite.
        """
        scales = self._scales()
        for rows, chunk in self.stored.iter_chunks():
            if self.dtype == torch.int8:
                if scales is None:
                    _check_finite(self, chunk)
                yield rows, *(quantize(chunk) if scales is None else (chunk, scales[rows]))
            else:
                values = chunk.to(self.dtype)
                _check_finite(self, values)
                yield rows, values, None

    def read_all(self, *, mapped: bool) -> tuple[Tensor, Tensor | None]:
        """Return the whole tensor and its scales.

        If the tensor is stored as requested and may stay `mapped`, it is a view of the file.
        """
        if mapped and self.is_as_stored:
            if not self.checked:
                for _ in self.iter_chunks():
                    """Iterating checks for values that are not finite, without touching a page of the map."""
            return self.stored.view(), self._scales()
        whole = empty_mmap(self.stored.shape, self.dtype)
        scales = torch.empty(self.scale_shape, dtype=SCALE_DTYPE) if self.dtype == torch.int8 else None
        for rows, values, scale in self.iter_chunks():
            _rows_of(whole, rows).copy_(values)
            if scales is not None and scale is not None:
                scales[rows] = scale
        return whole, scales

    def _scales(self) -> Tensor | None:
        """Return all stored scales, or None.

        They are few, so they are checked even in a file that was checked when it was written.
        """
        if self.scale is None:
            return None
        scales = torch.cat([chunk.clone() for _, chunk in self.scale.iter_chunks()])
        _check_finite(self, scales)
        return scales


def _rows_of(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows] if tensor.ndim else tensor


def _check_finite(cast: TensorCast, values: Tensor) -> None:
    # Check the sum first, which needs no mask: it is finite unless a value is not, or the sum overflows.
    if not values.sum().isfinite() and not values.isfinite().all():
        at = " as float16" if values.dtype == torch.float16 else ""
        raise CheckpointError(
            f"{cast.stored.file.path}: {cast.name} holds NaN or infinite values{at}; "
            "the training diverged or the file is damaged"
        )


@dataclass(frozen=True)
class TensorPlan:
    """The tensor of `cast` in a model that runs with `execution` on `device`.

    `is_linear_weight`: it belongs to a Linear layer of the encoders, so the backend creates it.
    """

    cast: TensorCast
    execution: ExecutionConfig
    device: torch.device
    is_linear_weight: bool

    @property
    def name(self) -> str:
        return self.cast.name

    @property
    def is_mapped(self) -> bool:
        """Return whether the tensor stays in the file and takes no memory of its own."""
        as_stored = self.cast.is_as_stored and self._resident_dtype == self.cast.dtype
        return as_stored and self.device.type == "cpu" and not self._is_packed

    @property
    def nbytes(self) -> int:
        """Return the bytes in memory, with the scales."""
        return self.cast.nbytes * self._resident_dtype.itemsize // self.cast.dtype.itemsize

    @property
    def unpacked(self) -> int:
        """Return the additional bytes that a weight takes until it has been packed."""
        return self.cast.nbytes if self._is_packed else 0

    @property
    def upcast(self) -> int:
        """Return the additional bytes of an int8 weight during its multiplication; 0 if it is packed."""
        wide = self.cast.dtype == torch.int8 and not self._is_packed
        return prod(self.cast.stored.shape) * self.execution.precision.compute_dtype.itemsize if wide else 0

    def read(self) -> Tensor:
        """Read the tensor on the CPU, then move it to the device.

        A copy from mapped memory to a device could pull the whole file into RAM.
        """
        values, scales = self.cast.read_all(mapped=self.is_mapped)
        values, scales = (
            values.to(self.device, self._resident_dtype),
            None if scales is None else scales.to(self.device),
        )
        if not self.is_linear_weight:
            return values
        weight = self.execution.engine.make_weight(values, scales, self.execution.precision.compute_dtype)
        if self._is_packed:
            trim_heap()  # packing leaves gaps of the size of a weight, which would add up
        return weight

    @property
    def _is_packed(self) -> bool:
        return self.is_linear_weight and self.execution.engine.needs_copy

    @property
    def _resident_dtype(self) -> torch.dtype:
        """Return the dtype in memory.

        Non-int8 tensors of an int8 model are rounded to `dtype` and held in `compute_dtype`; embeddings are cast on
        lookup.
        """
        precision = self.execution.precision
        rounded = self.cast.dtype == precision.dtype and not is_embedding(self.name)
        return precision.compute_dtype if rounded else self.cast.dtype


def is_embedding(name: str) -> bool:
    """Return whether this tensor is an embedding table: a step reads few rows."""
    return name.endswith(("embed_tokens.weight", "token_embedding.weight"))
