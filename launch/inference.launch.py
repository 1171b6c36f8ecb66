"""Starts the inference node and, with autostart, configures and activates it.

A failed start and a node that dies end the launch with a non-zero exit code. A launch argument left empty leaves the
parameter to params_file, which itself wins over the package's config/inference.yaml.
"""

import json
import tempfile
import time
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

PACKAGE = "simple_clip_lstm_ros"
BOOLEAN = ["true", "false"]

# name: (description, choices or None); these are node parameters, and empty means "as in params_file".
PARAMETERS = {
    "checkpoint": ("checkpoint file (.pth) or bundle folder; there is no default", None),
    "processors": ("folder of the processors, if they are not beside or inside the checkpoint", None),
    "policy_config": ("YAML file of PolicyConfig overrides", None),
    "device": ("auto, cpu, cuda or cuda:N", None),
    "precision": ("number format of the weights", ["auto", "fp32", "bf16", "fp16", "int8"]),
    "engine": ("how the model runs", ["auto", "eager"]),
    "image_topic": ("camera topic", None),
    "image_transport": ("raw, or compressed for <image_topic>/compressed", ["raw", "compressed"]),
    "instruction": ("instruction at activation; others arrive on the topic instruction", None),
    "allow_untrained": ("let random weights move the robot: for demos and tests only", BOOLEAN),
    "use_sim_time": ("take the time from /clock", BOOLEAN),
}

# name: (default, description, choices or None)
OPTIONS = {
    "namespace": ("", "namespace of the node and its topics", None),
    "params_file": ("", "your own parameter file; wins over config/inference.yaml of the package", None),
    "autostart": ("true", "configure and activate the node", BOOLEAN),
    "guard": ("false", "put velocity_guard between the node and cmd_vel (not available yet)", ["false"]),
    "log_level": ("info", "log level of the node", ["debug", "info", "warn", "error", "fatal"]),
}


def start(context):
    """The node and its bring-up, once the arguments are known."""
    argument = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *OPTIONS)}
    files = [Path(get_package_share_directory(PACKAGE)) / "config" / "inference.yaml"]
    if argument["params_file"]:
        files.append(Path(argument["params_file"]).expanduser())
        if not files[-1].is_file():  # launch_ros would start the node without it
            raise RuntimeError(f"params_file: there is no file {files[-1]}")
    given = {name: argument[name] for name in PARAMETERS if argument[name]}
    for name in given:
        if PARAMETERS[name][1] is BOOLEAN:
            given[name] = given[name] == "true"
    if given:
        # JSON is YAML whose strings are always quoted: 'instruction:=n' and 'checkpoint:=1e5' stay text.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="launch_params_", delete=False) as file:
            json.dump({"/**/inference": {"ros__parameters": given}}, file, ensure_ascii=False)
        files.append(Path(file.name))
    node = LifecycleNode(
        package=PACKAGE,
        executable="inference_node",
        name="inference",
        namespace=argument["namespace"],
        parameters=files,
        ros_arguments=["--log-level", argument["log_level"]],
        output="screen",
        on_exit=exited,
    )
    return [node, *([OpaqueFunction(function=bring_up, args=[node])] if argument["autostart"] == "true" else [])]


def exited(event, context):
    """An exception is the one way to a non-zero exit code of the launch."""
    if not context.is_shutdown:
        hint = " (killed: often out of memory)" if event.returncode == -9 else ""
        raise RuntimeError(f"the inference node ended with exit code {event.returncode}{hint}")


def bring_up(context, node):
    # By the service's answers: a transition event is lost while discovery still runs, and the launch would hang.
    client = get_ros_node(context).create_client(ChangeState, f"{node.node_name}/change_state")

    def wait_for(done):
        while not done() and not context.is_shutdown:
            time.sleep(0.05)
        return not context.is_shutdown

    def transitions():
        for verb in ("configure", "activate"):
            if not wait_for(client.service_is_ready):
                return
            number = getattr(Transition, f"TRANSITION_{verb.upper()}")
            answer = client.call_async(ChangeState.Request(transition=Transition(id=number)))
            if not wait_for(answer.done):
                return
            if not answer.result().success:
                raise RuntimeError(f"the inference node failed to {verb}; its own log above says why")

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
