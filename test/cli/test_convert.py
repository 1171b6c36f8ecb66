"""convert, verify and memory as commands; --layers, --image-size and --memory-budget-gb."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_python import WarmPython

from simple_clip_lstm_ros.checkpoint.convert import convert

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def bundle(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("converted") / "bundle"
    convert(tiny, path)
    return path


def _refusal(outcome: Any) -> str:
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    return outcome.err


def test_convert_says_what_it_made_and_shows_no_bar_in_a_pipe(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    outcome = cli("convert", tiny, tmp_path / "bundle", "--precision", "bf16", "--shard-size", "0.2MB")
    assert (outcome.code, outcome.err) == (0, "")
    size = sum(file.stat().st_size for file in (tmp_path / "bundle").rglob("*") if file.is_file())
    assert outcome.out.startswith(f"{tmp_path / 'bundle'}: ") and outcome.out.count("\n") == 1
    assert abs(float(outcome.out.split()[-2]) * 1e9 - size) < 1e6
    assert len(list((tmp_path / "bundle").glob("model-*.safetensors"))) > 5
    checked = cli("verify", tmp_path / "bundle")
    count = len((tmp_path / "bundle" / "SHA256SUMS").read_text().splitlines())
    assert (checked.code, checked.err) == (0, "")
    assert checked.out == f"{tmp_path / 'bundle'}: {count} files are as they were written\n"


@pytest.mark.slow
def test_a_bar_is_shown_at_a_terminal(
    warm_python: WarmPython, tiny: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    master, slave = os.openpty()
    words = ["-m", "simple_clip_lstm_ros.cli.main", "convert", tiny, tmp_path / "bundle"]
    own = environment | {"TERM": "xterm"}
    with warm_python.start(words, stdout=subprocess.PIPE, stderr=slave, env=own) as process:
        os.close(slave)
        shown = b""
        while select.select([master], [], [], 60)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:  # Linux's way to say that nobody has it open any more
                break
        out = process.stdout.read()
    os.close(master)
    assert process.returncode == 0
    assert b"writing tensors" in shown and b"checksums of the bundle" in shown
    assert b"\x1b" not in out


@pytest.mark.int8
def test_verify_prints_how_far_the_two_are_apart(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    exact = cli("convert", tiny, tmp_path / "fp32", "--verify", "4")
    assert (exact.code, exact.err) == (0, "")
    assert "over 4 photographs" in exact.out and "largest difference of an action: 0.00e+00" in exact.out
    rough = cli("convert", tiny, tmp_path / "int8", "--precision", "int8", "--verify", "4")
    assert 1e-5 < float(re.search(r"largest difference of an action: (\S+)", rough.out)[1]) < 1
    for outcome in (exact, rough):
        for name in ("feature kosmos_text", "feature clip_text_embeds", "action linear.x", "action angular.z"):
            assert re.search(rf"^  {name}: .*\d+\.\d\d%", outcome.out, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "x.pth"],
        ["convert", "x.pth", "y", "--shard-size", "much"],
        ["convert", "x.pth", "y", "--shard-size", "0"],
        ["convert", "x.pth", "y", "--shard-size", "-5GB"],
        ["convert", "x.pth", "y", "--verify", "1"],
        ["convert", "x.pth", "y", "--layers", "rnn"],
        ["convert", "x.pth", "y", "--layers", "rnn=1,rnn=2"],
        ["inspect", "x.pth", "--layers", "rnn=x"],
        ["inspect", "x.pth", "--image-size", "small"],
        ["verify"],
        ["memory", "--pid", "one"],
        ["memory", "x.pth", "--memory-budget-gb", "much"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"usage: simple_clip_lstm {arguments[0]}")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--precision", "int4"], "precision 'int4' is not one of"),
        (["--layers", "kosmos_text=9"], "kosmos_text has the layers 0 to 1"),
        (["--layers", "kosmos=1"], "there is no 'kosmos'"),
        (["--layers", "rnn=1+"], "rnn must keep layer 0"),
        (["--image-size", "5"], "image_size: 5 is not between"),
        (["--processors", "/nowhere"], "no processors folder at /nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_convert_refuses_in_one_line_and_writes_nothing(
    cli: Cli, tiny: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    assert reason in _refusal(cli("convert", tiny, tmp_path / "bundle", *options))
    assert not list(tmp_path.iterdir())


def test_verify_lists_what_must_be_copied_again(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    cli("convert", tiny, bundle, "--shard-size", "0.5MB")
    first, second = sorted(bundle.glob("model-*.safetensors"))[:2]
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    second.unlink()
    found = cli("verify", bundle)
    assert (found.code, found.out) == (1, f"{first.name}\n{second.name}\n")
    assert found.err.startswith("error: ") and found.err.count("\n") == 1
    assert f"{first.name} (its checksum differs), {second.name} (missing); copy these again" in found.err
    told = cli("verify", bundle, "--json")
    assert told.code == 1 and list(json.loads(told.out)["broken"]) == [first.name, second.name]


@pytest.mark.parametrize("path", ["/nowhere", "tiny"])
def test_verify_of_what_is_no_folder_does_not_call_it_one(cli: Cli, tiny: Path, path: str) -> None:
    said = _refusal(cli("verify", tiny if path == "tiny" else path))
    assert "is a folder" not in said


def test_a_cut_is_told_by_inspect_and_infer(cli: Cli, tiny: Path, photograph: Path, tmp_path: Path) -> None:
    cut = ["--layers", "rnn=0+2,kosmos_text=1", "--image-size", "32"]
    assert cli("convert", tiny, tmp_path / "bundle", *cut).code == 0
    told = "rnn has layers 0, 2 only; kosmos_text has layers 0 only; images are reduced to 28 for kosmos, 32 for clip"
    for arguments in ([tiny, *cut], [tmp_path / "bundle"]):
        assert f"CUT: {told}" in cli("inspect", *arguments).out
    assert "CUT" not in cli("inspect", tiny).out
    found = [
        cli("infer", *arguments, "--image", photograph, "--json") for arguments in ([tiny, *cut], [tmp_path / "bundle"])
    ]
    assert all(f"WARNING: the model is pruned: {told}" in outcome.said for outcome in found)
    first, second = (json.loads(outcome.out)["frames"][0]["action"] for outcome in found)
    assert first == second


BUDGETS = {
    "-1": "must be a size in GB",
    "nan": "must be a size in GB",
    "inf": "must be a size in GB",
    "1e9": "is more than there is here",
    "0.01": "nothing smaller fits, not even precision int8 with layers",
    "1e-12": "nothing smaller fits",
}


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_that_makes_no_sense_or_is_too_small_is_refused(
    cli: Cli, tiny: Path, photograph: Path, budget: str
) -> None:
    reason = BUDGETS[budget].removesuffix(" with layers")  # a tiny model has none to spare
    outcome = cli("infer", tiny, "--image", photograph, f"--memory-budget-gb={budget}")
    assert reason.removesuffix(", not even precision int8") in _refusal(outcome)


# --- memory ---------------------------------------------------------------------------------------------------


def test_memory_shows_the_machine_and_with_a_checkpoint_its_need(cli: Cli, tiny: Path, bundle: Path) -> None:
    plain = cli("memory")
    assert (plain.code, plain.err) == (0, "")
    assert "machine" in plain.out and "need" not in plain.out
    for checkpoint in (tiny, bundle):
        shown = cli("memory", checkpoint, "--device", "cpu", "--memory-budget-gb", "2")
        assert (shown.code, shown.err) == (0, "")
        need = shown.out[shown.out.index("need (GB)") :].splitlines()
        # Of narrow numbers the engine packed may be there as well.
        assert all(f"{precision} eager" in need[0] for precision in ("fp32", "bf16", "int8"))
        assert "fp32 packed" not in need[0], "auto would not take it"
        assert need[-1].split() == ["there", "are", "2.00"]


def test_memory_of_another_process_and_of_none(cli: Cli) -> None:
    program = "import sys; held = bytearray(b'x' * 200_000_000); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        process.stdout.readline()
        shown = cli("memory", "--pid", process.pid)
        process.stdin.close()
    assert shown.code == 0
    held = float(re.search(r"anonymous +(\d+\.\d+)", shown.out)[1])
    assert 0.2 <= held < 0.3
    assert f"there is no process {process.pid}" in _refusal(cli("memory", "--pid", process.pid))
