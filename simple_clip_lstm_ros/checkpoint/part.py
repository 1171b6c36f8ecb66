"""How each tensor of a checkpoint becomes one of a loaded model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from simple_clip_lstm_ros.checkpoint.cast import Cast
from simple_clip_lstm_ros.engine.engines import Way
from simple_clip_lstm_ros.engine.memory import trim_heap


@dataclass(frozen=True)
class Part:
    """The tensor of `cast`, held by a model that is computed in this `way` on `device`.

    `is_weight`: of a Linear layer in the encoders; the engine makes it.
    """

    cast: Cast
    way: Way
    device: torch.device
    is_weight: bool

    @property
    def name(self) -> str:
        return self.cast.name

    @property
    def is_mapped(self) -> bool:
        """Whether it stays in the file, and takes no memory of its own."""
        as_stored = self.cast.is_as_stored and self._held == self.cast.dtype
        return as_stored and self.device.type == "cpu" and not self._is_packed

    @property
    def nbytes(self) -> int:
        """As held, with the scales."""
        return self.cast.nbytes * self._held.itemsize // self.cast.dtype.itemsize

    @property
    def unpacked(self) -> int:
        """Bytes that a weight takes besides, until it has been packed."""
        return self.cast.nbytes if self._is_packed else 0

    @property
    def widened(self) -> int:
        """Bytes that an int8 weight takes besides for the moment of its multiplication, where it is not packed."""
        wide = self.cast.dtype == torch.int8 and not self._is_packed
        return prod(self.cast.stored.shape) * self.way.precision.arithmetic.itemsize if wide else 0

    def read(self) -> Tensor:
        """On the CPU, then moved: a copy from mapped memory to a device can pull the whole file into RAM."""
        values, scales = self.cast.collect(mapped=self.is_mapped)
        values, scales = values.to(self.device, self._held), None if scales is None else scales.to(self.device)
        if not self.is_weight:
            return values
        weight = self.way.engine.weight(values, scales, self.way.precision.arithmetic)
        if self._is_packed:
            trim_heap()  # packing leaves holes of the size of a weight, which would add up
        return weight

    @property
    def _is_packed(self) -> bool:
        return self.is_weight and self.way.engine.copies

    @property
    def _held(self) -> torch.dtype:
        """What an int8 model has besides int8 is rounded to one dtype and computed in another; tables at look-up."""
        precision = self.way.precision
        rounded = self.cast.dtype == precision.dtype and not is_table(self.name)
        return precision.arithmetic if rounded else self.cast.dtype


def is_table(name: str) -> bool:
    """Whether this tensor is of an embedding, of which a step reads a few rows."""
    return name.endswith(("embed_tokens.weight", "token_embedding.weight"))
