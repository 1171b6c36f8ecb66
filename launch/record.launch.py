"""Launches the recorder: it writes MCAP bags of the seconds before each stop of the robot.

With last:=0 it writes the whole drive. It runs on any machine of the robot's network, and nothing depends on it.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# name: (default, description, type). These are parameters of the recorder.
PARAMETERS = {
    "folder": (".", "where the bags go; it must exist", str),
    "last": ("30.0", "seconds to keep in memory and write when the robot is stopped; 0: write the whole drive", float),
    "memory_mb": ("128.0", "at most, for what is kept", float),
    "image_topic": ("image_raw", "camera topic", str),
    "image_transport": ("raw", "raw, or compressed for <image_topic>/compressed", str),
    "use_sim_time": ("false", "take the time from /clock", bool),
}
OPTIONS = {
    "namespace": ("", "namespace of the robot's topics"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
}


def start(context):
    option = {name: LaunchConfiguration(name).perform(context) for name in OPTIONS}
    return [
        Node(
            package="simple_clip_lstm_ros",
            executable="bag_recorder",
            name="recorder",
            namespace=option["namespace"],
            parameters=[
                # Typed, so that a folder named 2026 stays text.
                {name: ParameterValue(LaunchConfiguration(name), value_type=kind)}
                for name, (_, _, kind) in PARAMETERS.items()
            ],
            ros_arguments=["--log-level", option["log_level"]],
            output="screen",
            on_exit=exited,
        )
    ]


def exited(event, context):
    """Fail the launch if the recorder exits.

    Only an exception gives the launch a non-zero exit code.
    """
    if not context.is_shutdown:
        raise RuntimeError(f"the recorder ended with exit code {event.returncode}")


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description, *_) in (PARAMETERS | OPTIONS).items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
