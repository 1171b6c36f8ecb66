"""Read, check, convert and write checkpoints, and load policies from them."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`load_policy`, which brings torch and transformers along, only when it is asked for: --help need not wait."""
    if name != "load_policy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from simple_clip_lstm_ros.checkpoint.load import load_policy

    return load_policy
