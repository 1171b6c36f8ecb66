"""Velocities, limits, the Governor and the Guard; pure Python without rclpy or torch."""
