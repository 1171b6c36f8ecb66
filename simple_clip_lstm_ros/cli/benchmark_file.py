"""A benchmark's document as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.errors import InputError, first_line

FORMAT = 1


def refuse_unwritable(path: Path) -> None:
    """Before minutes of measuring. Raises InputError where no file can be made."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder, or its folder does not exist")


def read_document(path: Path) -> dict[str, Any]:
    """Raises InputError for what is no document of this format, with the measured ways of a model in it."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(document, dict) or "format" not in document:
        raise InputError(f"{path} is not what `simple_clip_lstm benchmark CHECKPOINT --save FILE` writes")
    if document["format"] != FORMAT:
        raise InputError(f"{path} has format {document['format']}, and this version reads {FORMAT}: measure again")
    if not document.get("ways"):
        raise InputError(f"{path} tells the machine's limits alone: measure again with a CHECKPOINT")
    return document
