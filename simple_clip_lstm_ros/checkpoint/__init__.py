"""Files to policies and back: open, inspect, compare, load, convert and write random checkpoints."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `load_policy` on first use: it brings torch and transformers, which --help must not wait for."""
    if name != "load_policy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from simple_clip_lstm_ros.checkpoint.load import load_policy

    return load_policy
