"""Conversion of plain data to strict JSON, and writing of JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.files import write_errors_as


def nan_to_null(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: nan_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `document` to `path`, with null for NaN and infinity. Raise InputError if that fails."""
    with write_errors_as(InputError, path):
        path.write_text(json.dumps(nan_to_null(dict(document)), indent=2, allow_nan=False) + "\n")
