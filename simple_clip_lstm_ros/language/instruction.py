"""What the text of an instruction asks for: a text for the model, a stop, or nothing that can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simple_clip_lstm_ros.language.stop_phrases import is_stop_phrase


@dataclass(frozen=True)
class Instruction:
    """`text` is what was typed, without surrounding white space; `error` says why it is refused, or is empty.

    A blank text is a stop that names no phrase.
    """

    text: str
    is_stop: bool = False
    error: str = ""


def interpret(text: str, validate: Callable[[str], str]) -> Instruction:
    """Return what `text` asks for. `validate` returns why the model cannot use a text, or an empty string."""
    text = text.strip()
    if not text or is_stop_phrase(text):
        return Instruction(text, is_stop=True)
    return Instruction(text, error=validate(text))
