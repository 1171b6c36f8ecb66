"""What the doctor looks at, a file for each kind. None of it imports torch or rclpy: they may be what is broken."""
