"""Step profiles, roofline and interleaved runs."""
