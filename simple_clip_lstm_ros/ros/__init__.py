"""Code shared by the ROS nodes: parameters, conversions, QoS, topics, process and status."""
