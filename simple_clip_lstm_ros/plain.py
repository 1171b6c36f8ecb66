"""Plain data for JSON."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """Nested dicts and lists with None for the numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
