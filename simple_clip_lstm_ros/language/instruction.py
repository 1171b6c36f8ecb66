"""Interpretation of an instruction: a text for the model, a stop, or an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simple_clip_lstm_ros.language.stop_phrases import is_stop_phrase


@dataclass(frozen=True)
class Instruction:
    """Interpreted text of an instruction.

    `text` has no surrounding white space; `error` is why it is rejected, or empty. A blank text is a stop without a
    phrase.
    """

    text: str
    is_stop: bool = False
    error: str = ""


def interpret(text: str, validate: Callable[[str], str]) -> Instruction:
    """Return what `text` asks for.

    `validate` returns why the model cannot use a text, or an empty string.
    """
    text = text.strip()
    if not text or is_stop_phrase(text):
        return Instruction(text, is_stop=True)
    return Instruction(text, error=validate(text))
