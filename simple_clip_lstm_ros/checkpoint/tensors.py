"""The tensors of a checkpoint in the dtype and layout that a precision and a backend ask for, chunk by chunk."""

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
    """The tensor `name`, as stored and as wanted. `scale` [rows, 1] belongs to a tensor that is stored as int8.

    `checked` tensors are known to be finite.
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
        """Of the tensor as wanted, with its scales."""
        scales = prod(self.scale_shape) * SCALE_DTYPE.itemsize if self.dtype == torch.int8 else 0
        return prod(self.stored.shape) * self.dtype.itemsize + scales

    @property
    def scale_shape(self) -> tuple[int, int]:
        return (self.stored.shape[0], 1)

    def iter_chunks(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Some rows, their values and, of int8, their scales. Raises CheckpointError for values that are not finite."""
        scales = self._scales()
        for rows, piece in self.stored.iter_chunks():
            if self.dtype == torch.int8:
                if scales is None:
                    _check_finite(self, piece)
                yield rows, *(quantize(piece) if scales is None else (piece, scales[rows]))
            else:
                values = piece.to(self.dtype)
                _check_finite(self, values)
                yield rows, values, None

    def read_all(self, *, mapped: bool) -> tuple[Tensor, Tensor | None]:
        """The whole tensor and its scales; where it is as stored and may stay `mapped`, a view of the file."""
        if mapped and self.is_as_stored:
            if not self.checked:
                for _ in self.iter_chunks():
                    """Looked at for values that are not finite; no page of the map is touched by that."""
            return self.stored.view(), self._scales()
        whole = empty_mmap(self.stored.shape, self.dtype)
        scales = torch.empty(self.scale_shape, dtype=SCALE_DTYPE) if self.dtype == torch.int8 else None
        for rows, values, scale in self.iter_chunks():
            _rows_of(whole, rows).copy_(values)
            if scales is not None and scale is not None:
                scales[rows] = scale
        return whole, scales

    def _scales(self) -> Tensor | None:
        """All that are stored. They are few, and so looked at even in a file that was checked when it was written."""
        if self.scale is None:
            return None
        scales = torch.cat([piece.clone() for _, piece in self.scale.iter_chunks()])
        _check_finite(self, scales)
        return scales


def _rows_of(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows] if tensor.ndim else tensor


def _check_finite(cast: TensorCast, values: Tensor) -> None:
    # One pass without a mask: a sum is finite unless a value is not, or the sum itself overflows.
    if not values.sum().isfinite() and not values.isfinite().all():
        at = " as float16" if values.dtype == torch.float16 else ""
        raise CheckpointError(
            f"{cast.stored.file.path}: {cast.name} holds NaN or infinite values{at}; "
            "the training diverged or the file is damaged"
        )


@dataclass(frozen=True)
class TensorPlan:
    """The tensor of `cast`, held by a model that is computed in this `way` on `device`.

    `is_weight`: of a Linear layer in the encoders; the engine makes it.
    """

    cast: TensorCast
    execution: ExecutionConfig
    device: torch.device
    is_weight: bool

    @property
    def name(self) -> str:
        return self.cast.name

    @property
    def is_mapped(self) -> bool:
        """Whether it stays in the file, and takes no memory of its own."""
        as_stored = self.cast.is_as_stored and self._resident_dtype == self.cast.dtype
        return as_stored and self.device.type == "cpu" and not self._is_packed

    @property
    def nbytes(self) -> int:
        """As held, with the scales."""
        return self.cast.nbytes * self._resident_dtype.itemsize // self.cast.dtype.itemsize

    @property
    def unpacked(self) -> int:
        """Bytes that a weight takes besides, until it has been packed."""
        return self.cast.nbytes if self._is_packed else 0

    @property
    def upcast(self) -> int:
        """Bytes that an int8 weight takes besides for the moment of its multiplication, where it is not packed."""
        wide = self.cast.dtype == torch.int8 and not self._is_packed
        return prod(self.cast.stored.shape) * self.execution.precision.compute_dtype.itemsize if wide else 0

    def read(self) -> Tensor:
        """On the CPU, then moved: a copy from mapped memory to a device can pull the whole file into RAM."""
        values, scales = self.cast.read_all(mapped=self.is_mapped)
        values, scales = (
            values.to(self.device, self._resident_dtype),
            None if scales is None else scales.to(self.device),
        )
        if not self.is_weight:
            return values
        weight = self.execution.engine.weight(values, scales, self.execution.precision.compute_dtype)
        if self._is_packed:
            trim_heap()  # packing leaves holes of the size of a weight, which would add up
        return weight

    @property
    def _is_packed(self) -> bool:
        return self.is_weight and self.execution.engine.needs_copy

    @property
    def _resident_dtype(self) -> torch.dtype:
        """What an int8 model has besides int8 is rounded to one dtype and computed in another; tables at look-up."""
        precision = self.execution.precision
        rounded = self.cast.dtype == precision.dtype and not is_embedding(self.name)
        return precision.compute_dtype if rounded else self.cast.dtype


def is_embedding(name: str) -> bool:
    """Whether this tensor is of an embedding, of which a step reads a few rows."""
    return name.endswith(("embed_tokens.weight", "token_embedding.weight"))
