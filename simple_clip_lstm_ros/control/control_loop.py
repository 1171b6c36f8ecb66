"""Wiring around a Governor, shared by the inference node and replay; no threads, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from simple_clip_lstm_ros.control.governor import Governor, ObservationKey
from simple_clip_lstm_ros.control.velocity import Velocity

T = TypeVar("T")


class InterpretedText(Protocol):
    """Interpreted text of an instruction; see `language.instruction.Instruction`."""

    @property
    def text(self) -> str: ...
    @property
    def is_stop(self) -> bool: ...
    @property
    def error(self) -> str: ...


class ControlLoop:
    """Passes instructions and actions to the Governor in the form that it takes.

    `interpret` maps a text to an InterpretedText; `action_axes` name the model's outputs. Not thread-safe, like the
    Governor.
    """

    def __init__(
        self, governor: Governor, interpret: Callable[[str], InterpretedText], action_axes: Sequence[str]
    ) -> None:
        self.governor = governor
        self._interpret = interpret
        self._action_axes = action_axes

    def interpret(self, text: str) -> InterpretedText:
        """Return what `text` asks for. It takes as long as a tokenizer and needs no lock."""
        return self._interpret(text)

    def set_instruction(self, instruction: InterpretedText) -> None:
        """Follow an instruction from now on; stop on a stop phrase or a rejected text.

        A rejected text gives its error as the detail of the reason.
        """
        if instruction.is_stop:
            self.governor.stop(instruction.text)
        elif instruction.error:
            self.governor.reject_instruction(instruction.error)
        else:
            self.governor.set_instruction(instruction.text)

    def on_action(self, values: Sequence[float], key: ObservationKey) -> Velocity:
        """Pass the model's outputs for the observation `key` to the Governor; return them as a velocity."""
        velocity = Velocity.from_axes(values, self._action_axes)
        self.governor.on_action(velocity, key)
        return velocity


class NewestObservation(Generic[T]):
    """Slot for the observation that waits for the policy; a newer observation replaces it.

    `state_timeout` is the gap between images, in seconds, after which the hidden state is outdated and must be reset.
    The gap counts between images, not between steps: a slow model skips many images and keeps its state. A stamp that
    went back comes from a new recording or another clock, so it counts as a gap.
    """

    def __init__(self, state_timeout: float) -> None:
        self.state_timeout = state_timeout
        self._waiting: T | None = None
        self._last_stamp = 0.0
        self._must_reset = True

    def put(self, observation: T, stamp: float) -> None:
        """Offer the newest observation, whose image has this stamp in seconds."""
        gap, self._last_stamp = stamp - self._last_stamp, stamp
        self._must_reset |= not 0.0 <= gap <= self.state_timeout
        self._waiting = observation

    def reset(self) -> None:
        """Drop the observation that waits, and reset the hidden state before the next."""
        self._waiting = None
        self._must_reset = True

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None

    def take(self) -> tuple[T, bool] | None:
        """Return the observation and whether to reset the hidden state before it; None if there is none."""
        if self._waiting is None:
            return None
        taken = self._waiting, self._must_reset
        self._waiting, self._must_reset = None, False
        return taken
