"""Episodes, bags, and datasets made from them; without rclpy."""
