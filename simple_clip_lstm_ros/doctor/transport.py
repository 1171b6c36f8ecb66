"""ROS as these processes would use it: the middleware, the domain, the network, and whether images arrive."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from simple_clip_lstm_ros.doctor.finding import Finding, Host, ProbeError, Verdict, run_json

_DEFAULT = "rmw_fastrtps_cpp"
_START = """
import json, rclpy
rclpy.init()
rclpy.create_node("doctor")
print(json.dumps(rclpy.get_rmw_implementation_identifier()))
"""
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_HOST = "start the container with --network host --ipc host"
# Fast DDS listens for others at 7400 + 250 x the domain. Higher domains than 101 run into Linux's ephemeral ports.
_FIRST_PORT, _PORTS, _LAST_DOMAIN = 7400, 250, 101
_SEGMENT = 70  # MB, that a process with config/fastdds.xml takes in /dev/shm
_BUFFER = 4194304  # bytes, that config/fastdds.xml asks for
_LOST = 0.02  # of the images, beyond which something is wrong


def transport(here: Host, image_topic: str | None) -> Iterator[Finding]:
    start = ros(here)
    yield start
    yield domain(here)
    yield reach(here)
    yield profile(here)
    yield shared_memory(here)
    yield buffers(here)
    if here.is_container:
        yield network(here)
    if start.verdict is Verdict.ERROR:
        yield Finding("images arrive", Verdict.SKIPPED, "ROS does not start")
        return
    yield loss()
    if image_topic:
        yield live(image_topic)


def ros(here: Host) -> Finding:
    """Whether a node starts, and with the middleware that the environment names."""
    asked = here.environment.get("RMW_IMPLEMENTATION", "")
    try:
        used = run_json("-c", _START)
    except ProbeError as error:
        why = re.sub(r"^\[ERROR\] \[[\d.]+\] \[\w+\]: ", "", str(error))
        if not asked:
            remedy = "source /opt/ros/<distro>/setup.bash, and use that distribution's Python"
            return Finding("ROS", Verdict.ERROR, f"no node starts: {why}", remedy)
        package = f"ros-{here.environment.get('ROS_DISTRO', '<distro>')}-{asked.replace('_', '-')}"
        remedy = f"apt-get install {package}, or unset RMW_IMPLEMENTATION on the robot and in each container"
        return Finding("ROS", Verdict.ERROR, f"no node starts with RMW_IMPLEMENTATION {asked}: {why}", remedy)
    if asked and used != asked:
        remedy = "set RMW_IMPLEMENTATION to one name on the robot and in each container"
        return Finding("ROS", Verdict.ERROR, f"RMW_IMPLEMENTATION is {asked}, and {used} is used", remedy)
    return Finding("ROS", Verdict.OK, f"a node starts with {used}{'' if asked else ', the default'}")


def domain(here: Host) -> Finding:
    told = here.environment.get("ROS_DOMAIN_ID", "")
    if told and not (told.isdecimal() and int(told) <= _LAST_DOMAIN):
        remedy = f"set ROS_DOMAIN_ID to a number from 0 to {_LAST_DOMAIN}, the same on the robot and in each container"
        return Finding("domain", Verdict.ERROR, f"ROS_DOMAIN_ID is {told!r}", remedy)
    own = int(told or 0)
    others = sorted(_domains(here) - {own})
    if others and own not in _domains(here):
        says = f"nobody is in domain {own} on this machine, and somebody in {', '.join(map(str, others))}"
        return Finding("domain", Verdict.WARN, says, f"export ROS_DOMAIN_ID={others[0]}, if that is your robot")
    return Finding("domain", Verdict.OK, f"{own}{'' if told else ', the default'}")


def _domains(here: Host) -> set[int]:
    """In which a process of this machine listens, told by its UDP port."""
    ports = re.findall(r"^ *\d+: [0-9A-F]{8}:([0-9A-F]{4}) ", here.read("/proc/net/udp"), re.MULTILINE)
    beyond = [int(port, 16) - _FIRST_PORT for port in ports]
    return {port // _PORTS for port in beyond if port >= 0 and port % _PORTS == 0 and port // _PORTS <= _LAST_DOMAIN}


def reach(here: Host) -> Finding:
    """Whether other machines are heard. ROS_LOCALHOST_ONLY is Humble's, and wins where both are known."""
    given = here.environment
    discovery = given.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if discovery == "OFF":
        says = "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no node hears another"
        return Finding("reach", Verdict.ERROR, says, "unset it, or set LOCALHOST or SUBNET")
    if given.get("ROS_LOCALHOST_ONLY") == "1" or discovery == "LOCALHOST":
        name = "ROS_LOCALHOST_ONLY" if given.get("ROS_LOCALHOST_ONLY") == "1" else "ROS_AUTOMATIC_DISCOVERY_RANGE"
        says = f"{name} keeps ROS on this machine: a base or a camera on another one is not heard"
        return Finding("reach", Verdict.WARN, says, f"unset {name} everywhere, if that is not meant")
    return Finding("reach", Verdict.OK, "other machines are heard")


def profile(here: Host) -> Finding:
    """Fast DDS says nothing of a file that is not there, and goes on with its defaults."""
    named = {name: here.environment[name] for name in _PROFILES if here.environment.get(name)}
    lost = next((f"{name} names {file}" for name, file in named.items() if not Path(file).is_file()), "")
    if lost:
        return Finding(
            "profile", Verdict.ERROR, f"{lost}, which is not there", "name config/fastdds.xml of this package"
        )
    used = here.environment.get("RMW_IMPLEMENTATION", _DEFAULT)
    if named and "fastrtps" not in used:
        return Finding("profile", Verdict.WARN, f"a Fast DDS profile does nothing for {used}", "tune that middleware")
    return Finding("profile", Verdict.OK, next(iter(named.values()), "that of the launch file"))


def shared_memory(here: Host) -> Finding:
    folder = here.path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", Verdict.WARN, "there is no /dev/shm: images go over UDP", _HOST)
    megabytes = shutil.disk_usage(folder).total / 1e6
    if megabytes < 4 * _SEGMENT:
        says = f"/dev/shm has {megabytes:.0f} MB, and each process with config/fastdds.xml takes {_SEGMENT}"
        return Finding(
            "shared memory", Verdict.WARN, says, "--ipc host, or --shm-size 512m with all nodes in one container"
        )
    return Finding("shared memory", Verdict.OK, f"{megabytes:.0f} MB")


def buffers(here: Host) -> Finding:
    told = here.read("/proc/sys/net/core/rmem_max")
    if told.isdecimal() and int(told) < _BUFFER:
        says = f"net.core.rmem_max is {told}: raw images from another machine get lost"
        return Finding("socket buffers", Verdict.WARN, says, f"sudo sysctl -w net.core.rmem_max={_BUFFER}")
    return Finding("socket buffers", Verdict.OK, f"net.core.rmem_max is {told or 'unknown'}")


def network(here: Host) -> Finding:
    """A container's own network card is one end of a pair, whose other end is outside."""
    cards = [card for card in here.path("/sys/class/net").glob("*") if card.name != "lo"]
    numbers = [
        [here.read(f"/{(card / name).relative_to(here.root)}") for name in ("ifindex", "iflink")] for card in cards
    ]
    if not any(index == link for index, link in numbers):
        return Finding(
            "network", Verdict.ERROR, "this container has a network of its own: no ROS outside is heard", _HOST
        )
    return Finding("network", Verdict.OK, "the host's")


def loss() -> Finding:
    """Of raw images from another process, with the transport that this environment sets."""
    try:
        told = run_json("-m", "simple_clip_lstm_ros.harness.image_loss_probe")
    except ProbeError as error:
        return Finding("images arrive", Verdict.ERROR, f"could not be measured: {error}", _HOST)
    lost = 1 - told["received"] / told["sent"]
    says = f"{told['received']} of {told['sent']} raw images of {told['size']} in {told['seconds']:.0f} s"
    if not told["received"]:
        return Finding(
            "images arrive", Verdict.ERROR, says, "remove leftovers (`fastdds shm clean`); see shared memory"
        )
    if lost > _LOST:
        remedy = "name config/fastdds.xml in the camera's process, or send compressed images"
        return Finding("images arrive", Verdict.WARN, says, remedy)
    return Finding("images arrive", Verdict.OK, says)


def live(topic: str) -> Finding:
    """The robot's own camera."""
    check = f"camera {topic}"
    try:
        told = run_json("-m", "simple_clip_lstm_ros.harness.image_loss_probe", topic)
    except ProbeError as error:
        return Finding(check, Verdict.ERROR, f"could not be listened to: {error}", "look at the topic's name and type")
    if not told["received"]:
        remedy = "start the camera; `ros2 topic list` must show it here: same domain, same middleware, same network"
        return Finding(check, Verdict.ERROR, f"no image within {told['seconds']:.0f} s", remedy)
    says = f"{told['rate']:.1f} images a second, {1000 * told['age']:.0f} ms old"
    if told["problem"]:
        return Finding(check, Verdict.ERROR, told["problem"], "set the camera's driver to an encoding that is named")
    if abs(told["age"]) > 0.5:
        remedy = "synchronise the clocks (chrony), or have the driver stamp images with the system's time"
        return Finding(check, Verdict.ERROR, f"{says}: they would count as stale", remedy)
    return Finding(check, Verdict.OK, says)
