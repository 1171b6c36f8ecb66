"""Velocities, limits, Governor and Guard; pure Python."""
