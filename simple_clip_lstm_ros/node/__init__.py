"""The body: everything that speaks ROS."""
