"""What a drive was like, as values for JSON and as sentences for the log."""

from __future__ import annotations

from typing import Any

from simple_clip_lstm_ros.control.cadence import Cadence
from simple_clip_lstm_ros.control.governor import Governor


def drive_report(governor: Governor, cadence: Cadence, now: float) -> dict[str, Any]:
    """Since activation: rates, times, reasons with how often and how long, counts. Seconds, Hz, m and rad."""
    return {**cadence.summary(now), "reasons": governor.spells.summary(), "counts": dict(governor.counts)}


def sentences(report: dict[str, Any]) -> str:
    """A few lines for people, from a drive_report."""
    inference, commands = report["inference"], report["commands"]
    reasons = ", ".join(f"{name} {s['seconds']:.1f} s ({s['times']}x)" for name, s in report["reasons"].items())
    counts = ", ".join(f"{name} {count}" for name, count in report["counts"].items() if count)
    worst = ", ".join(f"{1e3 * s['latency']:.0f} ms (image of {s['stamp']:.3f})" for s in report["worst"])
    return "\n".join(
        (
            f"drove for {report['seconds']:.1f} s",
            f"  inference {inference['rate']:.1f} Hz of {inference['images']:.1f} images/s; commands "
            f"{commands['rate']:.2f} Hz of {commands['target']:g}, {100 * commands['on_time']:.1f} % within 20 %",
            f"  latency {_times(report['latency'])}; image age at the action {_times(report['image_age'])}",
            f"  beside the latency: transport {_times(report['transport'], 1)}, "
            f"the node {_times(report['overhead'], 1)}, wait for the next command {_times(report['tick_wait'], 1)}",
            f"  reasons: {reasons or 'none'}",
            f"  counts: {counts or 'none'}",
            f"  slowest steps: {worst or 'none'}",
        )
    )


def _times(quantiles: dict[str, float], digits: int = 0) -> str:
    return " ".join(f"{name} {1e3 * seconds:.{digits}f}" for name, seconds in quantiles.items()) + " ms"
