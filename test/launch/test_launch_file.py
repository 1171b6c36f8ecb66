"""inference.launch.py. Where `launch` is not installed (ROS from pip), small stand-ins take its place."""

import ast
import json
from types import SimpleNamespace

import pytest
import yaml
from stand_ins import HAS_LAUNCH, ROOT, Recorded, load

FILE = ROOT / "launch" / "inference.launch.py"
PARAMETERS = ["checkpoint", "processors", "policy_config", "device", "precision", "engine", "image_topic"]
PARAMETERS += ["image_transport", "instruction", "allow_untrained", "host", "port", "token"]
PARAMETERS += ["use_sim_time"]
OPTIONS = ["namespace", "params_file", "autostart", "guard", "dashboard", "log_level"]


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module; its nodes are only recorded."""
    module = load(FILE, monkeypatch)
    monkeypatch.setattr(module, "get_package_share_directory", lambda package: str(ROOT))
    return module


def context_with(**given):
    return SimpleNamespace(
        launch_configurations={**dict.fromkeys([*PARAMETERS, *OPTIONS], ""), "autostart": "true", **given},
        is_shutdown=False,
    )


@pytest.fixture
def start(launch_file, monkeypatch, tmp_path):
    """Runs the launch file's start() with arguments; the entities it returns."""
    monkeypatch.setattr(launch_file, "LaunchConfiguration", Recorded)
    monkeypatch.setattr(launch_file.tempfile, "tempdir", str(tmp_path))
    return lambda **given: launch_file.start(context_with(**given))


def test_what_it_names_exists():
    tree = ast.parse(FILE.read_text())
    executables = {
        k.value.value for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "executable"
    }
    assert executables == {"inference_node", "velocity_guard", "dashboard"}
    setup = (ROOT / "setup.py").read_text()
    assert all(f"{e} = " in setup for e in executables)
    files = {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and str(n.value).endswith((".yaml", ".xml"))
    }
    files = {f for f in files if "\n" not in f}
    assert files == {"inference.yaml", "fastdds.xml", "fastdds_guard.xml"}
    assert all((ROOT / "config" / f).is_file() for f in files)  # test_package: all of config/ is installed


def test_parameters_stand_in_the_parameter_file(launch_file):
    stated = yaml.safe_load((ROOT / "config" / "inference.yaml").read_text())["/**"]["ros__parameters"]
    assert set(launch_file.PARAMETERS) - {"use_sim_time"} <= set(stated)


def test_arguments_are_the_documented_ones(launch_file):
    assert list(launch_file.PARAMETERS) == PARAMETERS
    assert list(launch_file.OPTIONS) == OPTIONS
    description = launch_file.generate_launch_description()
    declared = (description.entities if HAS_LAUNCH else description.name)[:-1]
    assert [argument.name for argument in declared] == [*PARAMETERS, *OPTIONS]
    for description, choices in launch_file.PARAMETERS.values():
        assert description
        assert choices is None or "" not in choices
    for default, description, choices in launch_file.OPTIONS.values():
        assert description
        assert choices is None or default in choices


def test_empty_arguments_override_nothing(start):
    guard, node = start(guard="true")[:2]
    assert guard.parameters == node.parameters == [ROOT / "config" / "inference.yaml"]
    assert (node.package, node.executable, node.name) == ("simple_clip_lstm_ros", "inference_node", "inference")


def test_order_and_types_of_overrides(start, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("/**: {ros__parameters: {device: cpu}}")
    node = start(
        params_file=str(own), checkpoint="1e5", instruction="grün 🚀", allow_untrained="false", namespace="r1"
    )[0]
    assert node.parameters[:2] == [ROOT / "config" / "inference.yaml", own]
    (written,) = node.parameters[2:]
    expected = {"checkpoint": "1e5", "instruction": "grün 🚀", "allow_untrained": False}
    nodes = ("/**/inference", "/**/velocity_guard", "/**/dashboard")
    assert json.loads(written.read_text(encoding="utf-8")) == {name: {"ros__parameters": expected} for name in nodes}
    assert node.namespace == "r1"


@pytest.mark.ros
@pytest.mark.parametrize("key", ["/**", "/**/inference", "/r1/inference", "r1/inference"])
def test_rclpy_reads_them(start, tmp_path, key):
    """A launch argument wins over the user's file however that is keyed, and text stays text."""
    import rclpy

    own = tmp_path / "own.yaml"
    own.write_text(yaml.dump({key: {"ros__parameters": {"device": "cpu", "engine": "eager"}}}))
    node = start(params_file=str(own), device="cuda", checkpoint="1e5", instruction="n 🚀", use_sim_time="true")[0]
    arguments = ["--ros-args"] + [word for file in node.parameters for word in ("--params-file", str(file))]
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    try:
        node = rclpy.create_node("inference", namespace="r1", context=context)
        defaults = {"device": "", "engine": "", "checkpoint": "", "instruction": "", "command_rate": 0.0}
        values = {name: node.declare_parameter(name, default).value for name, default in defaults.items()}
        values["use_sim_time"] = node.get_parameter("use_sim_time").value
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert values == {
        "device": "cuda",
        "engine": "eager",
        "checkpoint": "1e5",
        "instruction": "n 🚀",
        "command_rate": 20.0,
        "use_sim_time": True,
    }


def test_a_missing_params_file_is_an_error(start):
    with pytest.raises(RuntimeError, match=r"there is no file /nowhere\.yaml"):
        start(params_file="/nowhere.yaml")


def test_autostart_adds_the_bring_up(start):
    assert len(start(autostart="true")) == 2
    assert len(start(autostart="false")) == 1


def test_the_guard_stands_between_the_node_and_the_base(start):
    guard, node = start(guard="true", autostart="false", namespace="r1")
    assert (guard.package, guard.executable, guard.name) == ("simple_clip_lstm_ros", "velocity_guard", "velocity_guard")
    assert node.remappings == [("cmd_vel", "cmd_vel_raw")] and guard.namespace == node.namespace == "r1"
    assert guard.on_exit and node.on_exit
    (alone,) = start(guard="false", autostart="false")
    assert alone.executable == "inference_node" and alone.remappings == []


def test_before_a_guard_that_runs_elsewhere_only_the_node_is_started(start):
    (node,) = start(guard="external", autostart="false")
    assert node.executable == "inference_node" and node.remappings == [("cmd_vel", "cmd_vel_raw")]


def test_the_dashboard_is_there_when_asked_for_and_its_end_ends_nothing(start):
    _, dashboard = start(dashboard="true", autostart="false", namespace="r1", port="9000", image_topic="/cam")
    assert (dashboard.executable, dashboard.name, dashboard.namespace) == ("dashboard", "dashboard", "r1")
    given = json.loads(dashboard.parameters[-1].read_text())["/**/dashboard"]["ros__parameters"]
    assert given == {"image_topic": "/cam", "port": 9000}
    # An action and no function of ours: nothing there could raise, which is what ends a launch.
    (action,) = dashboard.on_exit
    assert "the robot goes on" in str(action.msg)
    assert [each.executable for each in start(dashboard="false", autostart="false")] == ["inference_node"]


def test_a_port_that_is_no_number_is_an_error(start):
    with pytest.raises(RuntimeError, match="port must be a number"):
        start(dashboard="true", port="http")


@pytest.mark.parametrize("name", ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"])
def test_the_transport_is_the_packages_unless_told_otherwise(start, monkeypatch, name):
    for profiles in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(profiles, raising=False)
    guard, node = start(guard="true")[:2]
    assert node.additional_env[name] == str(ROOT / "config" / "fastdds.xml")
    assert guard.additional_env[name] == str(ROOT / "config" / "fastdds_guard.xml")
    monkeypatch.setenv(name, "")
    assert start()[0].additional_env == {}


@pytest.mark.parametrize(("code", "text"), [(0, "exit code 0"), (1, "exit code 1"), (-9, "out of memory")])
def test_a_node_that_ends_ends_the_launch(launch_file, code, text):
    event = SimpleNamespace(returncode=code)
    handler = launch_file.exited("the guard")
    with pytest.raises(RuntimeError, match=f"the guard ended with.*{text}"):
        handler(event, SimpleNamespace(is_shutdown=False))
    handler(event, SimpleNamespace(is_shutdown=True))  # asked to end: fine


@pytest.fixture
def bring_up(launch_file, monkeypatch):
    """Runs bring_up against a client that gives these answers; the transitions asked for. None: shut down meanwhile."""

    def run(*answers):
        asked, left = [], list(answers)
        context = SimpleNamespace(is_shutdown=False, add_completion_future=lambda future: None)

        def call_async(request):
            asked.append(request.transition.id)
            success = left.pop(0)
            context.is_shutdown = success is None
            return SimpleNamespace(done=lambda: success is not None, result=lambda: SimpleNamespace(success=success))

        client = SimpleNamespace(service_is_ready=lambda: True, call_async=call_async)
        ros = SimpleNamespace(create_client=lambda kind, name: client if name == "/r1/inference/change_state" else None)
        context.asyncio_loop = SimpleNamespace(run_in_executor=lambda executor, function: function())
        monkeypatch.setattr(launch_file, "get_ros_node", lambda context: ros)
        launch_file.bring_up(context, SimpleNamespace(node_name="/r1/inference"))
        return asked

    return run


def test_bring_up_configures_then_activates(bring_up):
    assert bring_up(True, True) == [1, 3]


@pytest.mark.parametrize(("answers", "verb"), [([False], "configure"), ([True, False], "activate")])
def test_a_failed_bring_up_ends_the_launch(bring_up, answers, verb):
    with pytest.raises(RuntimeError, match=f"failed to {verb}"):
        bring_up(*answers)


def test_bring_up_stops_when_the_launch_does(bring_up):
    assert bring_up(None) == [1]
