"""PolicyConfig settings that a user writes in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from simple_clip_lstm_ros.errors import ConfigError


def read_overrides(path: str | Path | None) -> dict[str, Any]:
    """The mapping in the YAML file at `path`; empty without a path. Raises ConfigError for anything else."""
    if not path:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of PolicyConfig settings, not {type(values).__name__}")
    return values
