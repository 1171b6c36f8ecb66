"""Devices, precisions, linear backends and memory."""
