"""Config, preprocessing, model and `Policy`: frame and instruction in, action out. No ROS."""
