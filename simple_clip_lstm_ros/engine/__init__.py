"""Devices, precisions, linear backends and memory of a policy."""
