"""Plays a recording to the real inference node in simulated time, and compares its commands with the recorded ones.

All topics are in a separate namespace, so that no robot moves, except /clock: if nodes of a robot use it, set another
ROS_DOMAIN_ID. The launch ends with the recording.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# name: (default, description, type). These are parameters of the player.
PARAMETERS = {
    "bag": ("", "rosbag2 (SQLite or MCAP) to play: its folder or its file", str),
    "out": ("replay", "folder for pictures and replay.json", str),
    "rate": ("1.0", "times as fast as it was recorded", float),
    "instruction": ("", "in place of those that were given", str),
    "image_topic": ("", "in the bag, if it has several cameras", str),
    "command_topic": ("", "in the bag, to compare with", str),
    "instruction_topic": ("", "in the bag, if it has several", str),
}
OPTIONS = {
    "checkpoint": ("", "checkpoint file (.pth), bundle folder or builtin:tiny; there is no default"),
    "params_file": ("", "the node's parameters"),
    "namespace": ("replay", "one in which no robot listens"),
}


def start(context):
    # Read all values now: the arguments of the included launch file overwrite these configurations.
    given = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *OPTIONS)}
    inference = {
        **{name: given[name] for name in OPTIONS},
        "use_sim_time": "true",
        "instruction": "",  # the player publishes instructions
        "image_topic": "image_raw",
        "image_transport": "raw",
    }
    player = Node(
        package="simple_clip_lstm_ros",
        executable="bag_player",
        name="bag_player",
        namespace=given["namespace"],
        parameters=[{name: kind(given[name]) for name, (_, _, kind) in PARAMETERS.items()}],
        output="screen",
        on_exit=ended,
    )
    file = str(Path(__file__).parent / "inference.launch.py")
    included = IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=inference.items())
    return [player, included]


def ended(event, context):
    """End the launch with the player.

    Only an exception gives the launch a non-zero exit code.
    """
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"the player ended with exit code {event.returncode}")
    return [Shutdown(reason="the recording has been played")]


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description, *_) in (PARAMETERS | OPTIONS).items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
