"""Bag and episode recorders."""
