"""The reflexes: pure Python, no rclpy, no torch."""
