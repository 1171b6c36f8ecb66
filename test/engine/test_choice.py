"""Which precision is taken for the memory there is, and what is said where none fits; before weights are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from simple_clip_lstm_ros.checkpoint import plan
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.mapped_file import MappedFile, MappedTensor
from simple_clip_lstm_ros.checkpoint.plan import LoadCandidates, inspect_machine
from simple_clip_lstm_ros.engine.memory import CudaMemory
from simple_clip_lstm_ros.errors import ConfigError, DeviceError, MemoryBudgetError


@pytest.fixture(scope="module")
def found(tiny: Path) -> LoadCandidates:
    """The tiny checkpoint on this machine."""
    return inspect_machine(tiny, None, "cpu", {}, 0.0)


@pytest.fixture(scope="module")
def peaks(found: LoadCandidates) -> dict[str, int]:
    """What each precision needs here."""
    peaks = {execution.precision.name: found.estimate(execution).peak for execution in found.configs(engine="eager")}
    assert list(peaks) == ["fp32", "bf16", "int8"]
    assert peaks["fp32"] > peaks["bf16"] > peaks["int8"]
    return peaks


@pytest.fixture
def given(found: LoadCandidates, peaks: dict[str, int]) -> Callable[[str], LoadCandidates]:
    """The survey of a machine that has just enough for this precision, or `nothing`."""
    return lambda name: replace(found, limit=peaks.get(name, 1000))


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight may be read."""

    def read(*_: Any) -> None:
        pytest.fail("weights were read")

    for owner, name in (
        (MappedTensor, "view"),
        (MappedTensor, "iter_chunks"),
        (MappedFile, "view"),
        (MappedFile, "read_into"),
    ):
        monkeypatch.setattr(owner, name, read)


# Auto.


@pytest.mark.parametrize("name", ["fp32", "bf16", pytest.param("int8", marks=pytest.mark.int8)])
def test_auto_takes_the_widest_that_fits_and_tells_why(given, peaks, name, sealed):
    chosen = given(name).choose("auto", "eager")
    assert (chosen.execution.precision.name, chosen.candidates.limit, chosen.estimate.peak) == (
        name,
        peaks[name],
        peaks[name],
    )
    wider = list(peaks)[: list(peaks).index(name)]
    parts = [f"{name} eager on cpu", *(f"{other} eager would need {peaks[other] / 1e9:.1f} GB" for other in wider)]
    assert chosen.why == "; ".join(parts)


@pytest.mark.int8
def test_a_byte_less_than_it_needs_is_too_little(found, peaks):
    assert replace(found, limit=peaks["fp32"] - 1).choose("auto", "eager").execution.precision.name == "bf16"
    assert replace(found, limit=peaks["bf16"] - 1).choose("auto", "eager").execution.precision.name == "int8"


def test_where_only_int8_fits_and_cannot_be_had_it_says_how_to_get_it(given, monkeypatch):
    monkeypatch.setattr(plan, "missing_dependency", lambda: "precision int8 needs torchao: pip install torchao")
    assert given("bf16").choose("auto", "eager").execution.precision.name == "bf16", (
        "it is not asked for before it is needed"
    )
    with pytest.raises(
        DeviceError, match=r"pip install torchao; fp32 eager would need .* GB; bf16 eager would need .* GB$"
    ):
        given("int8").choose("auto", "eager")


# Explicit.


@pytest.mark.parametrize("name", ["fp32", "bf16", pytest.param("int8", marks=pytest.mark.int8)])
def test_a_precision_that_is_asked_for_and_fits_is_taken(given, name):
    assert given("fp32").choose(name, "eager").execution.precision.name == name


def refusal(found: LoadCandidates, precision: str) -> str:
    with pytest.raises(MemoryBudgetError) as caught:
        found.choose(precision, "eager")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.int8
@pytest.mark.parametrize(("asked", "nearest"), [("fp32", "bf16"), ("fp32", "int8"), ("bf16", "int8")])
def test_one_that_does_not_fit_is_refused_by_naming_the_nearest_that_does(given, peaks, asked, nearest, sealed):
    found = given(nearest)
    message = refusal(found, asked)
    limit, needs = f"{found.limit / 1e9:.1f} GB", f"precision {asked} needs {peaks[asked] / 1e9:.1f} GB"
    assert message.startswith(f"{found.spec.info.path} does not fit into {limit}: {needs}")
    assert message.endswith(f"; precision {nearest} needs {peaks[nearest] / 1e9:.1f} GB and fits")


@pytest.mark.int8
def test_where_nothing_fits_but_fewer_layers_that_is_named_for_what_it_is(found, peaks):
    """The tiny model has four layers in its LSTM."""
    cut = found.estimate(found.configs()[-1], found.spec.with_layers({"rnn": (0, 1)})).peak
    assert cut < peaks["int8"]
    for asked in ("auto", "int8"):
        message = refusal(replace(found, limit=cut), asked)
        assert re.search(r"; precision int8 with layers rnn=2 \(pruned, .*\) needs [\d.]+ GB and fits$", message)
        assert "precision int8 needs" in message


@pytest.mark.int8
@pytest.mark.parametrize("asked", ["auto", "fp32", "bf16", "int8"])
def test_where_nothing_fits_at_all_the_least_is_named_and_what_to_do(given, found, asked, sealed):
    least = found.estimate(found.configs()[-1], found.spec.with_layers({"rnn": (0, 1)})).peak
    message = refusal(given("nothing"), asked)
    assert "; nothing smaller fits, not even precision int8 with layers rnn=2" in message
    assert f"which needs {least / 1e9:.1f} GB" in message and "memory_budget_gb" in message


@pytest.mark.int8
@pytest.mark.parametrize("asked", ["fp32", "bf16", "int8"])
def test_the_least_is_never_more_than_what_was_asked_for(tiny, asked):
    """Of a model that cannot be cut further."""
    cut = inspect_machine(tiny, None, "cpu", {"layers": {"rnn": 2}}, 0.0)
    needs = {execution.precision.name: cut.estimate(execution).peak for execution in cut.configs(engine="eager")}
    message = refusal(replace(cut, limit=1000), asked)
    named = re.search(r"not even precision (\w+),", message)
    if asked == "int8":
        assert named is None, message
    else:
        assert named and needs[named[1]] == min(needs.values()), message


def test_auto_that_finds_nothing_names_each_that_was_tried(given, peaks):
    message = refusal(given("nothing"), "auto")
    for name, peak in peaks.items():
        assert f"precision {name} needs {peak / 1e9:.1f} GB (weights " in message


# A GPU, pretended.


@pytest.fixture
def on_gpu(found, monkeypatch):
    """The survey of a machine with a GPU of its own that has this much free."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=8))

    def pretend(free: int) -> LoadCandidates:
        gpu = CudaMemory("RTX", 8_000_000_000, free, 0, 0, shared=False)
        return replace(found, device=torch.device("cuda"), memory=replace(found.memory, cuda=gpu), limit=60_000_000_000)

    return pretend


@pytest.mark.int8
def test_on_a_gpu_auto_takes_half_precision_and_int8_where_that_is_too_much(on_gpu):
    wide = on_gpu(7_000_000_000)
    half, int8 = (wide.estimate(execution).device for execution in wide.configs())
    assert wide.choose("auto", "eager").execution.precision.name == "bf16"
    assert half > int8 and on_gpu(half - 1).choose("auto", "eager").execution.precision.name == "int8"


def test_a_gpu_that_is_too_small_is_what_the_refusal_speaks_of(on_gpu):
    message = refusal(on_gpu(100_000_000), "auto")
    assert "does not fit into 60.0 GB: " not in message
    assert "0.1 GB" in message


# Memory that runs out after all.


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the manual"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
        MemoryError("Unable to allocate 1 GiB"),
    ],
)
@pytest.mark.int8
def test_memory_that_runs_out_at_the_first_steps_is_told_with_what_needs_less(on_gpu, error):
    chosen = on_gpu(7_000_000_000).choose("bf16")
    with pytest.raises(MemoryBudgetError) as caught, chosen.oom_as_error():
        raise error
    needed = (
        f"at precision bf16 was estimated to need {chosen.estimate}, but memory ran out: {str(error).splitlines()[0]}"
    )
    assert str(caught.value).endswith(f"{needed}; free memory, or try precision int8")


@pytest.mark.int8
def test_at_the_least_precision_it_names_fewer_layers(found):
    chosen, told = found.choose("int8", "eager"), r"or try precision int8 with layers rnn=2 \(pruned, .*\)$"
    with pytest.raises(MemoryBudgetError, match=told), chosen.oom_as_error():
        raise MemoryError


def test_another_error_of_the_first_steps_stays_what_it_is(found):
    with pytest.raises(RuntimeError, match="shapes do not fit"), found.choose().oom_as_error():
        raise RuntimeError("shapes do not fit")


# From the outside: budgets.


def test_a_budget_decides_what_auto_takes(tiny, found, peaks):
    assert inspect_machine(tiny, None, "cpu", {}, 2.0).choose("auto", "eager").execution.precision.name == "fp32"
    # The need itself differs a little from look to look: the process has grown since.
    between = inspect_machine(tiny, None, "cpu", {}, 2.0)
    needs = [between.estimate(execution).peak for execution in between.configs(engine="eager")]
    assert replace(between, limit=(needs[0] + needs[1]) // 2).choose("auto", "eager").execution.precision.name == "bf16"


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "int8"])
def test_a_budget_too_small_refuses_before_weights_are_read(tiny, precision, sealed):
    with pytest.raises(MemoryBudgetError, match=r"0\.1 GB: precision .*nothing smaller fits"):
        load_policy(tiny, precision=precision, memory_budget_gb=0.1)


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), -1.0, 1e9])
def test_a_nonsense_budget_refuses_before_weights_are_read(tiny, budget, sealed):
    with pytest.raises(ConfigError, match=r"^memory_budget_gb "):
        load_policy(tiny, memory_budget_gb=budget)


def test_a_machine_that_has_too_little_refuses(tiny, monkeypatch, sealed):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16_000_000_000, available=1_000_000))
    with pytest.raises(MemoryBudgetError, match="nothing smaller fits"):
        load_policy(tiny)


def test_the_seal_of_these_tests_holds(tiny, sealed):
    with pytest.raises(pytest.fail.Exception, match="weights were read"):
        load_policy(tiny)


# Bundles.


@pytest.mark.int8
def test_a_bundle_offers_nothing_wider_than_it_is(tiny, tmp_path):
    convert(tiny, tmp_path / "int8", precision="int8")
    narrow = inspect_machine(tmp_path / "int8", None, "cpu", {}, 0.0)
    assert narrow.choose("auto", "eager").why == "int8 eager on cpu"
    message = refusal(replace(narrow, limit=1000), "auto")
    assert "fp32" not in message and "bf16" not in message
    with pytest.raises(ConfigError, match="cannot be converted back"):
        narrow.choose("fp32")
