"""The models that come with the package: bundles in its folder `models`, named `builtin:NAME` and never by default."""

from __future__ import annotations

from pathlib import Path

from simple_clip_lstm_ros.errors import CheckpointError

MODELS = Path(__file__).parents[1] / "models"
_PREFIX = "builtin:"


def located(path: str | Path) -> Path:
    """The folder of `builtin:NAME`; any other path as it is. Raises CheckpointError for a name that there is not."""
    if not str(path).startswith(_PREFIX):
        return Path(path)
    names = sorted(each.name for each in MODELS.iterdir() if each.is_dir()) if MODELS.is_dir() else []
    name = str(path).removeprefix(_PREFIX)
    if name in names:
        return MODELS / name
    there = ", ".join(_PREFIX + each for each in names)
    raise CheckpointError(
        f"{path}: the package has {f'only {there}' if names else 'no models; make one by `make tiny-model`'}"
    )
