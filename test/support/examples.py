"""Profiles of hypothesis: `ci` for the everyday loop, `full` for the long one; HYPOTHESIS_PROFILE names one."""

from __future__ import annotations

import os

from hypothesis import settings

FULL, CI = 100, 25  # examples of a property that asks for no number of its own
LEAST = 10  # below this a property says too little

# No deadlines: another test runs at the same time, and a pause of the machine is not a failure of the code.
settings.register_profile("full", max_examples=FULL, deadline=None)
# The same examples each time: a failure in the everyday loop comes from the change that is tested.
settings.register_profile("ci", max_examples=CI, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def scale_examples(count: int) -> int:
    """Return `count` in the profile `full`, and its share of it in `ci`."""
    return min(count, max(LEAST, count * settings().max_examples // FULL))
