"""`builtin:NAME`: the models of the package, wherever a checkpoint is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from simple_clip_lstm_ros.checkpoint import load_policy, user_input
from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.errors import CheckpointError


def test_a_name_means_the_folder_and_a_path_itself(models: Path) -> None:
    assert resolve_path("builtin:small") == resolve_path(Path("builtin:small")) == models / "small"
    for path in ("small", "./builtin:small", "/somewhere/model.pth"):
        assert resolve_path(path) == Path(path)


def test_it_loads_with_its_own_processors(models: Path) -> None:
    assert load_policy("builtin:small").config == load_policy(models / "small").config


def test_a_name_that_there_is_not_is_told_which_there_are(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("builtin:large", "builtin:", "builtin:../models"):
        with pytest.raises(CheckpointError, match=f"^{name}: .*builtin:small$"):
            load_policy(name)
    for none in (models / "small" / "processors" / "nothing", models.parent / "nowhere"):
        monkeypatch.setattr(user_input, "MODELS", none)
        with pytest.raises(CheckpointError, match=r"^builtin:small: .*no models"):
            resolve_path("builtin:small")
