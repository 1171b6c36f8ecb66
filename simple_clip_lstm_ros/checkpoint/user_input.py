"""Resolve user input: a checkpoint by its path or as `builtin:NAME`, and PolicyConfig settings in a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from simple_clip_lstm_ros.errors import CheckpointError, ConfigError

MODELS = Path(__file__).parents[1] / "models"
_PREFIX = "builtin:"


def resolve_path(path: str | Path) -> Path:
    """Return the folder of `builtin:NAME`; return any other path unchanged.

    Raise CheckpointError for an unknown name.
    """
    if not str(path).startswith(_PREFIX):
        return Path(path)
    names = sorted(each.name for each in MODELS.iterdir() if each.is_dir()) if MODELS.is_dir() else []
    name = str(path).removeprefix(_PREFIX)
    if name in names:
        return MODELS / name
    available = ", ".join(_PREFIX + each for each in names)
    raise CheckpointError(
        f"{path}: the package has {f'only {available}' if names else 'no models; make one by `make tiny-model`'}"
    )


def read_overrides(path: str | Path | None) -> dict[str, Any]:
    """Read the mapping in the YAML file at `path`; empty without a path.

    Raise ConfigError for anything else.
    """
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
