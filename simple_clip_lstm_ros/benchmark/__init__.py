"""Step profiles, roofline and interleaved benchmark runs."""
