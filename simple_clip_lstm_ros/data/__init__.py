"""Recorded data: episodes, bags and image decoding; no rclpy, no torch."""
