"""Offline metrics, drive metrics, occlusion and replay."""
