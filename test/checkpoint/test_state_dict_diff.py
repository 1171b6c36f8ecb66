"""The report of what a file has against what the model needs."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.checkpoint.spec import diff_shapes

NEEDED = {
    "rnn.weight_ih_l0": (8, 4),
    "rnn.weight_hh_l0": (8, 2),
    "rnn.bias_ih_l0": (8,),
    "actions.mlp.0.weight": (2, 2),
    "actions.mlp.0.bias": (2,),
}


def _without(*names: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in NEEDED.items() if name not in names}


def test_equal_shapes_give_no_report() -> None:
    assert diff_shapes(NEEDED, dict(reversed(NEEDED.items()))) == ""


def test_a_list_of_sizes_is_as_good_as_a_tuple() -> None:
    assert diff_shapes(NEEDED, {name: list(shape) for name, shape in NEEDED.items()}) == ""


@pytest.mark.parametrize("name", NEEDED)
def test_one_missing_tensor_is_named_with_its_component(name: str) -> None:
    assert diff_shapes(NEEDED, _without(name)).startswith(f"{name.partition('.')[0]}: 1 missing ({name})")


@pytest.mark.parametrize("name", NEEDED)
def test_one_tensor_of_the_wrong_shape_is_named_with_both_shapes(name: str) -> None:
    report = diff_shapes(NEEDED, NEEDED | {name: (7, 7, 7)})
    assert f"1 of the wrong shape ({name} [7, 7, 7] instead of {list(NEEDED[name])})" in report


def test_one_unexpected_tensor_is_named() -> None:
    report = diff_shapes(NEEDED, NEEDED | {"value_head.weight": (1, 2)})
    assert report.startswith("value_head: 1 unexpected (value_head.weight)")


def test_many_are_counted_by_component_and_only_the_first_are_named() -> None:
    found = _without("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0") | {"actions.mlp.0.bias": (3,)}
    report = diff_shapes(NEEDED, found)
    assert "rnn: 3 missing (rnn.bias_ih_l0, rnn.weight_hh_l0, ...)" in report
    assert "actions: 1 of the wrong shape" in report
    assert "rnn.weight_ih_l0" not in report


def test_a_report_on_thousands_stays_short_and_on_one_line() -> None:
    needed = {f"kosmos_model.layers.{index}.weight": (2,) for index in range(2000)}
    found = {f"resnet.layers.{index}.weight": (2,) for index in range(2000)}
    report = diff_shapes(needed, found)
    assert "kosmos_model: 2000 missing" in report
    assert "resnet: 2000 unexpected" in report
    assert len(report) < 500
    assert "\n" not in report


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (_without("rnn.bias_ih_l0"), "incomplete"),
        (NEEDED | {"value_head.weight": (1,)}, "does not have"),
        (_without("rnn.bias_ih_l0") | {"lstm.bias_ih_l0": (8,)}, "renamed"),
        (NEEDED | {"rnn.weight_ih_l0": (8, 5)}, "another checkpoint"),
    ],
    ids=["missing", "unexpected", "both", "wrong shape"],
)
def test_the_report_says_what_it_probably_means(found: dict[str, tuple[int, ...]], cause: str) -> None:
    assert cause in diff_shapes(NEEDED, found).rpartition("Probably")[2]
