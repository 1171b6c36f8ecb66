"""Launch files as modules; where `launch` is not installed (ROS from pip), small stand-ins take its place."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).parents[2]
HAS_LAUNCH = importlib.util.find_spec("launch_ros") is not None
_STOOD_IN = ["launch", "launch.actions", "launch.substitutions", "launch.launch_description_sources"]
_STOOD_IN += ["launch_ros.actions", "launch_ros.ros_adapters", "launch_ros.parameter_descriptions"]
_NAMES = ["DeclareLaunchArgument", "OpaqueFunction", "LaunchConfiguration", "LifecycleNode", "Node", "ParameterValue"]
_NAMES += ["LaunchDescription", "get_ros_node", "LogInfo", "IncludeLaunchDescription", "Shutdown"]
_NAMES += ["PythonLaunchDescriptionSource"]


class Recorded(SimpleNamespace):
    def __init__(self, name=None, **arguments):
        super().__init__(name=name, **arguments)

    def perform(self, context):
        return context.launch_configurations[self.name]


def load(file, monkeypatch):
    """The launch file as a module; its nodes are only recorded."""
    if not HAS_LAUNCH:
        for name in _STOOD_IN:
            module = ModuleType(name)
            vars(module).update(dict.fromkeys(_NAMES, Recorded))
            monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location(file.name.replace(".", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for kind in ("LifecycleNode", "Node"):
        monkeypatch.setattr(module, kind, Recorded, raising=False)
    return module
