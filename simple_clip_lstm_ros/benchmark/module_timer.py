"""How long each component of a model takes, while it runs as it always does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from torch import nn

from simple_clip_lstm_ros.benchmark.environment import synchronize
from simple_clip_lstm_ros.benchmark.roofline import HEAD
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


class ModuleTimer:
    """`with Stopwatch(model) as watch:` adds up seconds by component, until `lap` takes them.

    On a GPU it waits for each component, so that a frame as a whole takes longer than without.
    """

    def __init__(self, model: SimpleCLIPLSTM) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._seconds: dict[str, float] = {}
        self._begun = 0.0
        self._hooks: list[Any] = []

    def lap(self) -> dict[str, float]:
        """By component, since the last."""
        seconds, self._seconds = self._seconds, {}
        return seconds

    def __enter__(self) -> ModuleTimer:
        for name, module in _components(self._model):
            self._hooks.append(module.register_forward_pre_hook(lambda *_: self._begin()))
            self._hooks.append(module.register_forward_hook(lambda *_, name=name: self._end(name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _begin(self) -> None:
        synchronize(self._device)
        self._begun = time.perf_counter()

    def _end(self, name: str) -> None:
        synchronize(self._device)
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - self._begun


def _components(model: SimpleCLIPLSTM) -> Iterator[tuple[str, nn.Module]]:
    """None lies within another."""
    kosmos, clip = model.kosmos_model, model.clip_model
    yield "kosmos_vision", kosmos.vision_model
    yield "projection", kosmos.image_to_text_projection
    yield "kosmos_text", kosmos.text_model
    if clip is not None:
        yield "clip_vision", clip.vision_model
        yield "clip_text", clip.text_model
    for module in (model.feature_fusion, model.rnn, model.actions):
        if module is not None:
            yield HEAD, module
