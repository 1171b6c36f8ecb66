"""Stored tensors in the dtype that a precision asks for, piece by piece: for loading and for converting alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from simple_clip_lstm_ros.checkpoint.mapped import Stored, outside_heap
from simple_clip_lstm_ros.engine.quantise import SCALE_DTYPE, quantise
from simple_clip_lstm_ros.errors import CheckpointError


@dataclass(frozen=True)
class Cast:
    """The tensor `name`, as stored and as wanted. `scale` [rows, 1] belongs to a tensor that is stored as int8.

    `checked` tensors are known to be finite.
    """

    name: str
    stored: Stored
    scale: Stored | None
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

    def pieces(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Some rows, their values and, of int8, their scales. Raises CheckpointError for values that are not finite."""
        scales = self._scales()
        for rows, piece in self.stored.pieces():
            if self.dtype == torch.int8:
                if scales is None:
                    _check_finite(self, piece)
                yield rows, *(quantise(piece) if scales is None else (piece, scales[rows]))
            else:
                values = piece.to(self.dtype)
                _check_finite(self, values)
                yield rows, values, None

    def collect(self, *, mapped: bool) -> tuple[Tensor, Tensor | None]:
        """The whole tensor and its scales; where it is as stored and may stay `mapped`, a view of the file."""
        if mapped and self.is_as_stored:
            if not self.checked:
                for _ in self.pieces():
                    """Looked at for values that are not finite; no page of the map is touched by that."""
            return self.stored.view(), self._scales()
        whole = outside_heap(self.stored.shape, self.dtype)
        scales = torch.empty(self.scale_shape, dtype=SCALE_DTYPE) if self.dtype == torch.int8 else None
        for rows, values, scale in self.pieces():
            _rows_of(whole, rows).copy_(values)
            if scales is not None and scale is not None:
                scales[rows] = scale
        return whole, scales

    def _scales(self) -> Tensor | None:
        """All that are stored. They are few, and so looked at even in a file that was checked when it was written."""
        if self.scale is None:
            return None
        scales = torch.cat([piece.clone() for _, piece in self.scale.pieces()])
        _check_finite(self, scales)
        return scales


def _rows_of(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows] if tensor.ndim else tensor


def _check_finite(cast: Cast, values: Tensor) -> None:
    # One pass without a mask: a sum is finite unless a value is not, or the sum itself overflows.
    if not values.sum().isfinite() and not values.isfinite().all():
        at = " as float16" if values.dtype == torch.float16 else ""
        raise CheckpointError(
            f"{cast.stored.file.path}: {cast.name} holds NaN or infinite values{at}; "
            "the training diverged or the file is damaged"
        )
