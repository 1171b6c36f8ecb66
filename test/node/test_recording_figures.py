"""benchmarks/recording.py in small: it measures, the bag is complete, and the node hardly feels it."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_what_is_kept_is_complete_and_the_node_commands_as_before(figures) -> None:
    found = figures("recording.py", "--seconds", "4")
    kept = found["recorder"]
    assert kept["images"] == kept["images that the camera sent meanwhile"] and 3.5 < kept["seconds"] <= 4.1
    assert kept["resident with all it keeps (MB)"] < 250.0
    # Twice the target, for a machine that tests something else beside.
    assert found["watched"]["overhead p99 (ms)"] - found["alone"]["overhead p99 (ms)"] < 4.0
    assert found["watched"]["commands (Hz)"] == pytest.approx(found["alone"]["commands (Hz)"], abs=0.3)
