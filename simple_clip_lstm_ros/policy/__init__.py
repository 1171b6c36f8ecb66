"""The brain: frame and instruction in, action out; no ROS."""
