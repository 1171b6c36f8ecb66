"""Reduced models: the layers that were asked for, with their own weights, and a smaller image."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPModel, Kosmos2Model

from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.inspect_report import build_report
from simple_clip_lstm_ros.checkpoint.layer_pruning import TOWERS, count_layers, parse_layers
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.preprocessing import NORMALIZATIONS

State = dict[str, torch.Tensor]
Act = Callable[[Policy], np.ndarray]
PREFIXES = {
    "kosmos_text": "kosmos_model.text_model.model.layers.",
    "kosmos_vision": "kosmos_model.vision_model.model.encoder.layers.",
    "clip_text": "clip_model.text_model.encoder.layers.",
    "clip_vision": "clip_model.vision_model.encoder.layers.",
}
COUNTS = {"kosmos_text": 2, "kosmos_vision": 2, "clip_text": 2, "clip_vision": 2, "rnn": 4}


def _renumbered(name: str, tower: str, kept: Sequence[int]) -> str:
    """The source's name of a tensor of the cut model."""
    pattern = r"(rnn\..*_l)(\d+)()" if tower == "rnn" else rf"({re.escape(PREFIXES[tower])})(\d+)(\..*)"
    match = re.fullmatch(pattern, name)
    return f"{match[1]}{kept[int(match[2])]}{match[3]}" if match else name


def _check(policy: Policy, state: State, tower: str, kept: Sequence[int]) -> None:
    found = policy.model.state_dict()
    sources = {name: _renumbered(name, tower, kept) for name in found}
    assert all(torch.equal(found[name], state[source]) for name, source in sources.items())
    dropped = set(state) - set(sources.values())
    assert dropped == {n for n in state for m in [re.search(_number(tower), n)] if m and int(m[1]) not in kept}


def _number(tower: str) -> str:
    return r"^rnn\..*_l(\d+)$" if tower == "rnn" else rf"^{re.escape(PREFIXES[tower])}(\d+)\."


def test_the_towers_are_counted(state: State) -> None:
    assert count_layers(state) == COUNTS
    assert set(TOWERS) == set(COUNTS)


@pytest.mark.parametrize(
    ("tower", "asked", "kept"),
    [
        ("kosmos_text", 1, (0,)),
        ("kosmos_vision", [1], (1,)),
        ("clip_text", [0], (0,)),
        ("clip_vision", [1], (1,)),
        ("rnn", 2, (0, 1)),
        ("rnn", [0, 3], (0, 3)),
        ("rnn", [0, 1, 2, 3], (0, 1, 2, 3)),
    ],
)
def test_the_layers_that_are_kept_have_their_own_weights(
    tiny: Path, state: State, act: Act, expected: np.ndarray, tower: str, asked: Any, kept: tuple[int, ...]
) -> None:
    policy = load_policy(tiny, config={"layers": {tower: asked}})
    _check(policy, state, tower, kept)
    # All of them are no cut.
    assert policy.config.layers == ({tower: kept} if len(kept) < COUNTS[tower] else {})
    found = act(policy)
    assert np.isfinite(found).all()
    assert np.array_equal(found, expected) == (len(kept) == COUNTS[tower])


def test_a_file_that_states_nothing_is_cut_alike(tiny: Path, state: State, save: Callable[..., Path], act: Act) -> None:
    cut = {"layers": {"kosmos_text": [1], "rnn": 3}}
    np.testing.assert_allclose(
        act(load_policy(save(state), config=cut)), act(load_policy(tiny, config=cut)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({"kosmos_text": 3}, "kosmos_text .* 0 to 1, .*2"),
        ({"clip_vision": [0, 7]}, "clip_vision .* 0 to 1, .*7"),
        ({"rnn": [1, 2]}, "rnn .*layer 0"),
        ({"rnn": 0}, "at least one layer"),
        ({"rnn": -2}, "at least one layer"),
        ({"rnn": []}, "at least one layer"),
        ({"rnn": [0, 0]}, "in order"),
        ({"rnn": [2, 0]}, "in order"),
        ({"rnn": [-1, 0]}, "at least one layer"),
        ({"rnn": True}, "a number .*or a list"),
        ({"rnn": "2"}, "a number .*or a list"),
        ({"rnn": [0, 1.5]}, "a number .*or a list"),
        ({"kosmos": 1}, "'kosmos'.*kosmos_text"),
        ({"rnn": 5000}, "rnn .* 0 to 3, .*4999"),
        (["rnn"], "a number or a list"),
        (3, "a number or a list"),
    ],
    ids=str,
)
def test_layers_that_are_not_there_are_refused(tiny: Path, tmp_path: Path, layers: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_policy(tiny, config={"layers": layers})
    with pytest.raises(ConfigError, match=reason):
        convert(tiny, tmp_path / "bundle", config={"layers": layers})
    assert not list(tmp_path.iterdir())


def test_a_tower_that_the_model_lacks_is_refused(state: State, save: Callable[..., Path]) -> None:
    sister = {name: t for name, t in state.items() if not name.startswith(("clip_model", "feature_fusion"))}
    sister["rnn.weight_ih_l0"] = torch.ones(192, 128)
    with pytest.raises(ConfigError, match="no clip_text"):
        load_policy(save(sister), config={"layers": {"clip_text": 1}})


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=pytest.mark.int8)])
def test_a_cut_of_a_cut_is_told_by_the_first_numbers(
    tiny: Path, bundles: dict[str, Path], state: State, tmp_path: Path, act: Act, precision: str
) -> None:
    convert(bundles[precision], tmp_path / "first", config={"layers": {"rnn": [0, 2, 3], "clip_text": [1]}})
    convert(tmp_path / "first", tmp_path / "second", config={"layers": {"rnn": [0, 2], "kosmos_text": 1}})
    policy = load_policy(tmp_path / "second")
    assert policy.config.layers == {"rnn": (0, 3), "clip_text": (1,), "kosmos_text": (0,)}
    at_once = {"layers": {"rnn": [0, 3], "clip_text": [1], "kosmos_text": [0]}}
    np.testing.assert_array_equal(act(policy), act(load_policy(tiny, precision=precision, config=at_once)))
    assert torch.equal(policy.model.state_dict()["rnn.weight_hh_l1"], state["rnn.weight_hh_l3"])


def test_a_cut_bundle_says_so(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "bundle", config={"layers": {"rnn": [0, 1, 3]}, "image_size": 42})
    told = build_report(tmp_path / "bundle", {})["reductions"]
    assert "rnn has layers 0-1, 3 only" in told
    assert "42 for kosmos, 32 for clip" in told  # whole patches of 14 and 16
    assert build_report(tiny, {})["reductions"] == ""


# --- a smaller image ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [28, 42, 50, 56, 60])
def test_a_smaller_image_gives_what_hugging_faces_own_modules_give(
    tiny: Path, state: State, frames: list[np.ndarray], size: int
) -> None:
    policy = load_policy(tiny, config={"image_size": size})
    found = policy.features(frames[0], "go to the box")
    kosmos = Kosmos2Model(policy.model.kosmos_model.config).eval()
    clip = CLIPModel(policy.model.clip_model.config).eval()
    for name, module in (("kosmos_model", kosmos), ("clip_model", clip)):
        own = {n.removeprefix(f"{name}."): t for n, t in state.items() if n.startswith(f"{name}.")}
        module.load_state_dict(own, strict=True)
    with torch.inference_mode():
        vision = kosmos.vision_model(_pixels(frames[0], min(56, size // 14 * 14)), interpolate_pos_encoding=True)
        pooled = clip.vision_model(_pixels(frames[0], min(64, size // 16 * 16)), interpolate_pos_encoding=True)
        embeds = clip.visual_projection(pooled.pooler_output)
    torch.testing.assert_close(found["kosmos_vision"], vision.pooler_output, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["clip_vision"], pooled.pooler_output, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["clip_image_embeds"], embeds, rtol=0, atol=1e-5)


def _pixels(frame: np.ndarray, size: int) -> torch.Tensor:
    image = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(image, (size, size), mode="bicubic", antialias=True).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NORMALIZATIONS["clip"])
    return (small - mean) / std


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=pytest.mark.int8)])
def test_a_smaller_image_gives_finite_actions_that_are_others(
    bundles: dict[str, Path], act: Act, precision: str
) -> None:
    whole = act(load_policy(bundles[precision]))
    small = act(load_policy(bundles[precision], config={"image_size": 32}))
    assert np.isfinite(small).all()
    assert np.abs(small - whole).max() > 1e-4


@pytest.mark.parametrize("size", [-1, 0, 15, 65, 10**9])
def test_an_image_smaller_than_a_patch_or_larger_than_the_whole_is_refused(tiny: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"image_size: {size} .*16.*64"):
        load_policy(tiny, config={"image_size": size})


def test_parsing_gives_numbers() -> None:
    assert parse_layers({"rnn": 3, "clip_text": [0, 2]}) == {"rnn": (0, 1, 2), "clip_text": (0, 2)}
    assert parse_layers({}) == {}
