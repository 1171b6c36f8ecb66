"""What each verb says of input that it cannot use: exit 1, one line on stderr, nothing on stdout, nothing done."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

State = dict[str, torch.Tensor]
Cli = Callable[..., Any]
MARKER = "marker-of-the-trap"


class Trap:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARKER}",)


def _bytes(data: bytes) -> Callable:
    return lambda path, state: path.write_bytes(data)


def _saved(change: Callable[[State], Any], **options: Any) -> Callable:
    return lambda path, state: torch.save(change(state), path, **options)


def _truncated(path: Path, state: State) -> None:
    torch.save(state, path)
    os.truncate(path, path.stat().st_size // 2)


def _nan(state: State) -> State:
    state["rnn.weight_hh_l1"][3, 4] = float("nan")
    return state


# How the file is made, and what the error says of it.
UNREADABLE: dict[str, tuple[Callable, str]] = {
    "missing": (lambda path, state: None, "does not exist"),
    "folder": (lambda path, state: path.mkdir(), "is a folder"),
    "empty": (_bytes(b""), "is empty"),
    "text": (_bytes(b"hello\nworld\n"), "torch.save file"),
    "truncated": (_truncated, "bytes, expected at least"),
    "legacy": (_saved(lambda state: state, _use_new_zipfile_serialization=False), "legacy format"),
    "trap in a zip": (_saved(lambda state: {"model_state_dict": state, "hook": [Trap()]}), "system, which is code"),
    "bare trap": (_bytes(pickle.dumps({"a": Trap()})), "system, which is code"),
    "list": (_saved(lambda state: list(state.values())), "not a dict"),
}
UNFIT: dict[str, tuple[Callable, str]] = {
    "another model": (_saved(lambda state: {"fc.weight": torch.ones(2, 2)}), "another model"),
    "tensor missing": (
        _saved(lambda state: {name: state[name] for name in state if name != "rnn.bias_hh_l2"}),
        "rnn: 1 missing (rnn.bias_hh_l2)",
    ),
    "wrong shape": (_saved(lambda state: state | {"rnn.bias_hh_l2": torch.ones(5)}), "rnn: 1 of the wrong shape"),
    "unexpected": (_saved(lambda state: state | {"value.bias": torch.ones(5)}), "value: 1 unexpected"),
    "fusion width": (
        _saved(lambda state: state | {"feature_fusion.weight": torch.ones(96, 401)}),
        "no sum of features",
    ),
    "three outputs": (
        _saved(lambda state: state | {"actions.mlp.8.weight": torch.ones(3, 32), "actions.mlp.8.bias": torch.ones(3)}),
        "3 outputs",
    ),
}
UNUSABLE: dict[str, tuple[Callable, str]] = {"NaN": (_saved(_nan), "rnn.weight_hh_l1 holds NaN")}


def _refusal(outcome: Any, *, planned: bool = False) -> str:
    """The one line; where the load was `planned` already, the table of its need stands before it."""
    line = outcome.said if planned else outcome.err
    assert outcome.code == 1
    assert line.startswith("error: ")
    assert line.count("\n") == 1, outcome.err
    return line


@pytest.fixture
def file(tiny: Path, tmp_path: Path) -> Path:
    (tmp_path / "processors").symlink_to(f"{tiny}.processors")
    return tmp_path / "model.pth"


@pytest.mark.parametrize("case", UNREADABLE | UNFIT | UNUSABLE)
def test_infer_refuses(cli: Cli, file: Path, state: State, photograph: Path, case: str) -> None:
    make, reason = (UNREADABLE | UNFIT | UNUSABLE)[case]
    make(file, state)
    outcome = cli("infer", file, "--image", photograph, "--json")
    assert reason in _refusal(outcome, planned=case in UNUSABLE)
    assert outcome.out == ""


@pytest.mark.parametrize(("case", "options"), [*((case, []) for case in UNREADABLE), ("truncated", ["--json"])])
def test_inspect_refuses(cli: Cli, file: Path, state: State, case: str, options: list[str]) -> None:
    make, reason = UNREADABLE[case]
    make(file, state)
    outcome = cli("inspect", file, *options)
    assert reason in _refusal(outcome)
    assert outcome.out == ""


@pytest.mark.parametrize("case", UNFIT)
def test_inspect_reports_what_it_can_and_says_why_the_file_would_not_load(
    cli: Cli, file: Path, state: State, case: str
) -> None:
    make, reason = UNFIT[case]
    make(file, state)
    outcome = cli("inspect", file)
    assert f"{file} would not load: " in _refusal(outcome)
    assert reason in outcome.err
    assert "parameters" in outcome.out


@pytest.mark.parametrize(("verb", "case"), [("inspect", "bare trap"), ("infer", "trap in a zip")])
def test_a_trap_does_not_spring(
    cli: Cli, file: Path, state: State, photograph: Path, verb: str, case: str, tmp_path_factory: Any
) -> None:
    """The trap touches its marker in the working folder of the command."""
    UNREADABLE[case][0](file, state)
    _refusal(cli(verb, file, *(["--image", photograph] if verb == "infer" else [])))
    assert not list(tmp_path_factory.getbasetemp().rglob(MARKER))


@pytest.mark.slow
def test_a_refusal_is_the_same_from_a_cold_start(real_cli: Cli, file: Path, state: State, photograph: Path) -> None:
    """Importing the libraries and loading the processors adds nothing to the line."""
    torch.save(_nan(state), file)
    outcome = real_cli("infer", file, "--image", photograph)
    assert "rnn.weight_hh_l1 holds NaN" in _refusal(outcome, planned=True)
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("yaml", "reason"),
    [
        ("image_normalisation: clip\n", "did you mean image_normalization?"),
        ("window_size: eight\n", "window_size: 'eight' is not of type int"),
        ("kosmos_text_pooling: max\n", "'max' is not one of mean, last, first"),
        ("kosmos: 5\n", "kosmos"),
        ("kosmos: {text_config: {attention_heads: 3}}\n", "heads"),
        ("features: [kosmos_text]\n", "add up to"),
        ("a: [1, 2\n", "is not YAML"),
        ("- prompt\n- features\n", "must hold a mapping"),
        ("just text\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        (b"\xff\xfe\x00", "is not YAML"),
        (None, "cannot be read"),
    ],
)  # fmt: skip
def test_a_config_that_makes_no_sense_is_refused(
    cli: Cli, tiny: Path, photograph: Path, tmp_path: Path, yaml: str | bytes | None, reason: str
) -> None:
    path = tmp_path / "config.yaml"
    if yaml is not None:
        path.write_bytes(yaml.encode() if isinstance(yaml, str) else yaml)
    outcome = cli("infer", tiny, "--config", path, "--image", photograph)
    assert reason in _refusal(outcome)
    assert outcome.out == ""


def test_inspect_tells_of_an_unknown_setting_too(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("image_normalisation: clip\n")
    outcome = cli("inspect", tiny, "--config", tmp_path / "config.yaml")
    assert "did you mean image_normalization?" in _refusal(outcome)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--precision", "int3"], "precision 'int3' is not one of auto"),
        (["--precision", "fp16", "--device", "cpu"], "use fp32 or bf16"),
        (["--device", "gpu"], "device 'gpu' is not one of auto"),
        (["--device", "cuda:99"], "CUDA device"),
        (["--processors", "/nowhere"], "no processors folder at /nowhere"),
        (["--image", "/nowhere.png"], "/nowhere.png does not exist"),
        (["--instruction", "  "], "instruction is blank"),
        (["--instruction", "go <image> there"], "control token <image>"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_infer_refuses_an_option_that_names_nothing(
    cli: Cli, file: Path, state: State, photograph: Path, options: list[str], reason: str
) -> None:
    torch.save(state, file)
    outcome = cli("infer", file, "--image", photograph, *options)
    assert reason in _refusal(outcome, planned="--instruction" in options)
    assert outcome.out == ""
