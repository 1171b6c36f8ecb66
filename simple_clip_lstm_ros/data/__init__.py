"""Episodes and what is made of them: no rclpy."""
