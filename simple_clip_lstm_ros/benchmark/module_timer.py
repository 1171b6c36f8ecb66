"""Time each component of a model during normal steps."""

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
    """Adds up seconds by component: `with ModuleTimer(model) as timer:`, until `pop_seconds` takes them.

    On a GPU it synchronizes around each component, so that a whole frame takes longer than without it.
    """

    def __init__(self, model: SimpleCLIPLSTM) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._seconds: dict[str, float] = {}
        self._start = 0.0
        self._hooks: list[Any] = []

    def pop_seconds(self) -> dict[str, float]:
        """Return the seconds by component since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds

    def __enter__(self) -> ModuleTimer:
        for name, module in _components(self._model):
            self._hooks.append(module.register_forward_pre_hook(lambda *_: self._start_timer()))
            self._hooks.append(module.register_forward_hook(lambda *_, name=name: self._stop_timer(name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _start_timer(self) -> None:
        synchronize(self._device)
        self._start = time.perf_counter()

    def _stop_timer(self, name: str) -> None:
        synchronize(self._device)
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - self._start


def _components(model: SimpleCLIPLSTM) -> Iterator[tuple[str, nn.Module]]:
    """Yield the components by name; none is part of another."""
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
