"""Launches the inference node with the guard between it and cmd_vel; with autostart, configures and activates the node.

The launch ends with a non-zero exit code if the start fails, or if the node or the guard exits. If the dashboard exits,
the robot continues. An empty argument leaves the parameter to params_file, which wins over the package's
config/inference.yaml.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

PACKAGE = "simple_clip_lstm_ros"
# Fast DDS reads the first variable up to ROS 2 Jazzy, the second from Kilted on.
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
BOOLEAN = ["true", "false"]
GUARDS = [*BOOLEAN, "external"]
NODES = ("inference", "velocity_guard", "dashboard")

# name: (description, choices or None). These are node parameters; empty means "as in params_file".
PARAMETERS = {
    "checkpoint": ("checkpoint file (.pth), bundle folder or builtin:tiny; there is no default", None),
    "processors": ("folder of the processors, if they are not beside or inside the checkpoint", None),
    "policy_config": ("YAML file of PolicyConfig overrides", None),
    "device": ("auto, cpu, cuda or cuda:N", None),
    "precision": ("number format of the weights", ["auto", "fp32", "bf16", "fp16", "int8"]),
    "engine": ("how the encoders are computed", ["auto", "packed", "eager"]),
    "image_topic": ("camera topic", None),
    "image_transport": ("raw, or compressed for <image_topic>/compressed", ["raw", "compressed"]),
    "instruction": ("instruction at activation; others arrive on the topic instruction", None),
    "allow_untrained": ("let random weights move the robot: for demos and tests only", BOOLEAN),
    "host": ("address that the dashboard listens on; anything but this machine's own asks for a token", None),
    "port": ("of the dashboard's page", None),
    "token": ("what the address of the dashboard's page must bring along", None),
    "use_sim_time": ("take the time from /clock", BOOLEAN),
}

# name: (default, description, choices or None)
OPTIONS = {
    "namespace": ("", "namespace of the node and its topics", None),
    "params_file": ("", "your own parameter file; wins over config/inference.yaml of the package", None),
    "autostart": ("true", "configure and activate the node", BOOLEAN),
    "guard": ("true", "put velocity_guard between the node and cmd_vel; external: it runs already", GUARDS),
    "dashboard": ("false", "show the robot in a browser", BOOLEAN),
    "log_level": ("info", "log level of the nodes", ["debug", "info", "warn", "error", "fatal"]),
}


def start(context):
    """Return the actions that start the nodes, with the values of the launch arguments."""
    argument = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *OPTIONS)}
    files = parameter_files(argument)
    shared = {
        "package": PACKAGE,
        "namespace": argument["namespace"],
        "ros_arguments": ["--log-level", argument["log_level"]],
        "output": "screen",
    }
    node = LifecycleNode(
        executable="inference_node",
        name="inference",
        parameters=files,
        remappings=[] if argument["guard"] == "false" else [("cmd_vel", "cmd_vel_raw")],
        additional_env=transport("fastdds.xml"),
        on_exit=exited("the inference node"),
        **shared,
    )
    # The same parameter files, so that node and guard have the same limits.
    guard = Node(
        executable="velocity_guard",
        name="velocity_guard",
        parameters=files,
        additional_env=transport("fastdds_guard.xml"),
        on_exit=exited("the velocity guard"),
        **shared,
    )
    dashboard = Node(
        executable="dashboard",
        name="dashboard",
        parameters=files,
        on_exit=[LogInfo(msg="the dashboard has ended; the robot goes on without it")],
        **shared,
    )
    starts = argument["autostart"] == "true"
    return [
        *([guard] if argument["guard"] == "true" else []),
        node,
        *([dashboard] if argument["dashboard"] == "true" else []),
        *([OpaqueFunction(function=bring_up, args=[node])] if starts else []),
    ]


def parameter_files(argument):
    """Return the parameter files: the package's, the user's, and the launch arguments'; the later wins.

    Raise RuntimeError for a missing params_file or a port that is not a number.
    """
    files = [config("inference.yaml")]
    if argument["params_file"]:
        files.append(Path(argument["params_file"]).expanduser())
        if not files[-1].is_file():  # launch_ros would start the node without it
            raise RuntimeError(f"params_file: there is no file {files[-1]}")
    parameters = {name: argument[name] for name in PARAMETERS if argument[name]}
    for name in parameters:
        if PARAMETERS[name][1] is BOOLEAN:
            parameters[name] = parameters[name] == "true"
    if "port" in parameters:
        if not parameters["port"].isdecimal():
            raise RuntimeError(f"port must be a number, not {parameters['port']!r}")
        parameters["port"] = int(parameters["port"])
    if parameters:
        # JSON is YAML with quoted strings: 'instruction:=n' and 'checkpoint:=1e5' stay text.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="launch_params_", delete=False) as file:
            nodes = {f"/**/{node}": {"ros__parameters": parameters} for node in NODES}
            json.dump(nodes, file, ensure_ascii=False)
        files.append(Path(file.name))
    return files


def transport(profile):
    """Return the environment variables that select a Fast DDS profile.

    Return {} if the user's environment sets one of them already, even to "". With fastdds.xml the process loses none of
    the large images that it publishes (the overlay); the camera's process needs it too, in its own environment. With
    fastdds_guard.xml the guard shares no memory with the processes that it guards against.
    """
    return {} if any(name in os.environ for name in PROFILES) else dict.fromkeys(PROFILES, str(config(profile)))


def config(name):
    return Path(get_package_share_directory(PACKAGE)) / "config" / name


def exited(who):
    """Return an on_exit handler that fails the launch.

    Only an exception gives the launch a non-zero exit code.
    """

    def handler(event, context):
        if not context.is_shutdown:
            hint = " (killed: often out of memory)" if event.returncode == -9 else ""
            raise RuntimeError(f"{who} ended with exit code {event.returncode}{hint}")

    return handler


def bring_up(context, node):
    """Configure and activate the node in a thread. Raise RuntimeError there if a transition fails."""
    # Uses the service and not transition events: one that is lost during discovery would make the launch hang.
    client = get_ros_node(context).create_client(ChangeState, f"{node.node_name}/change_state")

    def wait_for(done):
        while not done() and not context.is_shutdown:
            time.sleep(0.05)
        return not context.is_shutdown

    def transitions():
        for transition in ("configure", "activate"):
            if not wait_for(client.service_is_ready):
                return
            number = getattr(Transition, f"TRANSITION_{transition.upper()}")
            future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
            if not wait_for(future.done):
                return
            if not future.result().success:
                raise RuntimeError(f"the inference node failed to {transition}; its own log above says why")

    context.add_completion_future(context.asyncio_loop.run_in_executor(None, transitions))


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            name,
            default_value="",
            description=f"{description}; empty: as in params_file",
            choices=["", *choices] if choices else None,
        )
        for name, (description, choices) in PARAMETERS.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, (default, description, choices) in OPTIONS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
