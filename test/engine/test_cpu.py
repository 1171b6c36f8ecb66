"""What kind of CPU this is, as the kernels of several machines tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from simple_clip_lstm_ros.engine import cpu
from simple_clip_lstm_ros.engine.cpu import cpu_name, has_native_bf16, low_precision_isa

TOLD = {
    "Zen 4": "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512_bf16 avx512_vnni\n",
    "Zen 2": "processor\t: 0\nmodel name\t: AMD EPYC 7R32\nflags\t\t: fpu avx avx2 fma\n",
    "Orin": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimddp\n",
    "Grace": "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n\nprocessor\t: 1\nFeatures\t: fp\n",
}


@pytest.mark.parametrize(
    ("machine", "narrow", "bf16"),
    [
        ("Zen 4", ["avx512_bf16", "avx512_vnni"], True),
        ("Zen 2", [], False),
        ("Orin", [], False),
        ("Grace", ["bf16", "i8mm"], True),
    ],
)
def test_it_tells_what_the_kernel_tells(
    machine: str, narrow: list[str], bf16: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(TOLD[machine])
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    assert (low_precision_isa(), has_native_bf16()) == (narrow, bf16)
    assert cpu_name() and (cpu_name() in TOLD[machine] or machine == "Grace")


def test_where_nothing_is_told_it_has_a_name_and_nothing_narrow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    assert cpu_name() and not low_precision_isa() and not has_native_bf16()
