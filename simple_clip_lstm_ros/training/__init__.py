"""Behavior cloning and DAgger."""
