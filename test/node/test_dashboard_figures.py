"""benchmarks/dashboard.py in small: it measures, and nothing is out of all proportion."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.full, pytest.mark.serial]


def test_the_dashboard_is_light_and_a_press_arrives(figures) -> None:
    document = figures("dashboard.py", "--seconds", "2", "--presses", "5", "--sizes", "1280x720")
    alone, large = document["rows"]
    assert alone["pictures"] == 0.0 and 5.0 < large["pictures"] <= 11.0
    assert all(40.0 < row["own"] < row["resident"] < 170.0 for row in document["rows"])
    assert 0.0 < alone["cpu"] < 0.1 and alone["cpu"] < large["cpu"] < 0.4
    # Twice the target, for a machine that tests something else beside.
    assert all(0.0 <= each["p50"] <= each["worst"] < 300.0 for each in document["presses"])
    assert document["presses"][0]["by"] == "a websocket client"
