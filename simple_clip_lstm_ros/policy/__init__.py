"""PolicyConfig, preprocessing, model and Policy: image and instruction in, action out; no ROS."""
