"""load_policy refuses whatever would not be the whole, right model, in one line that says what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError, ProcessorsError

State = dict[str, torch.Tensor]
Save = Callable[..., Path]


def _without(name: str) -> Callable[[State], State]:
    return lambda state: {other: tensor for other, tensor in state.items() if other != name}


def _with(name: str, tensor: torch.Tensor) -> Callable[[State], State]:
    return lambda state: state | {name: tensor}


def _changed(name: str, value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        state[name].view(-1)[-1] = value
        return state

    return change


BROKEN: dict[str, tuple[Callable[[State], State], str]] = {
    "a tensor missing in the middle": (
        _without("clip_model.visual_projection.weight"),
        r"clip_model: 1 missing \(clip_model\.visual_projection\.weight\)",
    ),
    "a tensor missing that tells a size": (_without("rnn.weight_hh_l0"), r"rnn\.weight_hh_l0 is missing"),
    "a bias missing": (_without("actions.mlp.8.bias"), r"actions: 1 missing"),
    "a layer norm missing": (
        _without("kosmos_model.text_model.model.layer_norm.weight"),
        r"kosmos_model: 1 missing",
    ),
    "the end of the head missing": (_without("actions.mlp.8.weight"), r"head .*incomplete"),
    "a wrong shape": (
        _with("rnn.weight_ih_l0", torch.ones(192, 95)),
        r"rnn: 1 of the wrong shape \(rnn\.weight_ih_l0 \[192, 95\] instead of \[192, 96\]\)",
    ),
    "a vector for a matrix": (_with("rnn.weight_hh_l0", torch.ones(192)), r"rnn\.weight_hh_l0 has shape \[192\]"),
    "a head that does not follow the LSTM": (_with("actions.mlp.0.weight", torch.ones(32, 40)), r"actions\.mlp\.0"),
    "a head whose layers do not follow each other": (
        _with("actions.mlp.4.weight", torch.ones(32, 30)),
        r"actions\.mlp\.4",
    ),
    "images of four channels": (
        _with("clip_model.vision_model.embeddings.patch_embedding.weight", torch.ones(128, 4, 16, 16)),
        r"channels|patch_embedding",
    ),
    "one tensor too many": (_with("value_head.weight", torch.ones(1, 48)), r"value_head: 1 unexpected"),
    "one layer too many": (_with("rnn.weight_ih_l4", torch.ones(192, 48)), r"rnn: .*missing"),
    "a fusion width that no sum explains": (
        _with("feature_fusion.weight", torch.ones(96, 401)),
        r"401 inputs",
    ),
    "a head with three outputs": (
        lambda state: state | {"actions.mlp.8.weight": torch.ones(3, 32), "actions.mlp.8.bias": torch.ones(3)},
        r"3 outputs .*action_axes names 2",
    ),
    "NaN in an encoder": (_changed("clip_model.text_projection.weight", float("nan")), "NaN or inf"),
    "NaN in a bias": (_changed("actions.mlp.8.bias", float("nan")), r"actions\.mlp\.8\.bias holds NaN or inf"),
    "infinity": (_changed("rnn.weight_hh_l3", float("inf")), r"rnn\.weight_hh_l3 holds NaN or inf"),
    "minus infinity": (_changed("feature_fusion.weight", float("-inf")), "NaN or inf"),
    "integers": (_with("rnn.weight_ih_l0", torch.ones(192, 96, dtype=torch.int8)), r"rnn\.weight_ih_l0.*int8"),
    "another model": (lambda state: torch.nn.Linear(3, 4).state_dict(), r"another model: .*no kosmos_model"),
    "a part of the model": (
        lambda state: {name: tensor for name, tensor in state.items() if name.startswith("kosmos_model")},
        r"no rnn, actions",
    ),
    "nothing": (lambda state: {}, "holds no tensors"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_state_dict_that_is_not_the_whole_model_is_refused(state: State, save: Save, broken: str) -> None:
    change, reason = BROKEN[broken]
    with pytest.raises((CheckpointError, ConfigError), match=reason) as raised:
        load_policy(save({"model_state_dict": change(state)}))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_an_error_about_the_tensors_names_the_file(state: State, save: Save) -> None:
    """A node's log shows the error alone: which of the files on the robot is meant?"""
    nameless = []
    for broken, (change, _) in BROKEN.items():
        path = save(change({name: tensor.clone() for name, tensor in state.items()}))
        try:
            load_policy(path)
        except CheckpointError as error:
            if str(path) not in str(error):
                nameless.append(broken)
        except ConfigError:
            pass  # about a setting, which the file does not hold
    assert not nameless


@pytest.mark.parametrize("large", [1e38, -1e38, 3e38])
def test_large_finite_weights_are_no_reason_to_refuse(state: State, save: Save, large: float) -> None:
    """Their sum overflows; they themselves do not."""
    state["actions.mlp.1.weight"][:] = large
    load_policy(save(state))


def test_a_file_whose_config_contradicts_its_tensors_is_refused(content: dict, save: Save) -> None:
    content["policy_config"]["kosmos"]["text_config"]["layers"] = 3
    with pytest.raises(CheckpointError, match=r"kosmos_model: 20 missing .*layers\.2"):
        load_policy(save(content))


# --- processors -----------------------------------------------------------------------------------------------


def _copy_alone(tiny: Path, folder: Path) -> Path:
    path = folder / "alone.pth"
    os.link(tiny, path) if tiny.stat().st_dev == folder.stat().st_dev else path.write_bytes(tiny.read_bytes())
    return path


def test_missing_processors_are_told_with_where_they_were_sought_and_how_to_get_them(
    tiny: Path, tmp_path: Path
) -> None:
    path = _copy_alone(tiny, tmp_path)
    with pytest.raises(ProcessorsError, match=r"alone\.pth\.processors.*hf download") as raised:
        load_policy(path)
    assert "\n" not in str(raised.value)


def test_a_processors_folder_that_is_named_but_missing_is_not_replaced_by_another(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ProcessorsError, match="elsewhere"):
        load_policy(tiny, processors=tmp_path / "elsewhere")


@pytest.mark.parametrize("encoder", ["kosmos", "clip"])
def test_a_folder_without_one_of_the_two_processors_is_refused(tiny: Path, tmp_path: Path, encoder: str) -> None:
    for folder in Path(f"{tiny}.processors").iterdir():
        if not folder.name.startswith(encoder):
            (tmp_path / folder.name).symlink_to(folder)
    with pytest.raises(ProcessorsError, match=rf"no sub-folder {encoder}\*.*hf download"):
        load_policy(tiny, processors=tmp_path)


@pytest.mark.parametrize("encoder", ["kosmos", "clip"])
@pytest.mark.parametrize("held", [{}, {"tokenizer.json": "not JSON"}, {"tokenizer_config.json": "{}"}], ids=str)
def test_a_damaged_processor_is_refused_in_one_line(
    tiny: Path, tmp_path: Path, encoder: str, held: dict[str, str]
) -> None:
    for folder in Path(f"{tiny}.processors").iterdir():
        if not folder.name.startswith(encoder):
            (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / encoder).mkdir()
    for name, text in held.items():
        (tmp_path / encoder / name).write_text(text)
    with pytest.raises(ProcessorsError, match=rf"{encoder} processor in .*") as raised:
        load_policy(tiny, processors=tmp_path)
    assert "\n" not in str(raised.value)


def test_processors_are_found_in_a_folder_beside_the_file(tiny: Path, tmp_path: Path) -> None:
    path = _copy_alone(tiny, tmp_path)
    (tmp_path / "processors").symlink_to(f"{tiny}.processors")
    assert load_policy(path).config == load_policy(tiny).config


def test_the_network_is_never_asked(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_policy(tiny)
    with pytest.raises(ProcessorsError):
        load_policy(tiny, processors="openai/clip-vit-base-patch32")
