"""What the ROS nodes share: parameters, conversions, QoS, topics, process and status."""
