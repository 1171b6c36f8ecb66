"""Checks of ROS in this environment: middleware, domain, network, and whether images arrive."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from simple_clip_lstm_ros.doctor.finding import Finding, Host, ProbeError, Verdict, run_json

_DEFAULT_RMW = "rmw_fastrtps_cpp"
_START_NODE = """
import json, rclpy
rclpy.init()
rclpy.create_node("doctor")
print(json.dumps(rclpy.get_rmw_implementation_identifier()))
"""
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_HOST_REMEDY = "start the container with --network host --ipc host"
# Fast DDS listens for discovery on UDP port 7400 + 250 x domain. Domains above 101 reach Linux's ephemeral ports.
_FIRST_PORT, _PORTS, _LAST_DOMAIN = 7400, 250, 101
_SEGMENT = 70  # MB that a process with config/fastdds.xml takes in /dev/shm
_BUFFER = 4194304  # bytes; config/fastdds.xml requests this much
_MAX_LOSS = 0.02  # share of the images; a larger loss is a WARN


def check_transport(host: Host, image_topic: str | None) -> Iterator[Finding]:
    start = check_ros(host)
    yield start
    yield check_domain(host)
    yield check_discovery_range(host)
    yield check_dds_profile(host)
    yield check_shared_memory(host)
    yield check_socket_buffers(host)
    if host.is_container:
        yield check_network(host)
    if start.verdict is Verdict.ERROR:
        yield Finding("images arrive", Verdict.SKIPPED, "ROS does not start")
        return
    yield check_image_loss()
    if image_topic:
        yield check_camera_topic(image_topic)


def check_ros(host: Host) -> Finding:
    """Check that a node starts, with the middleware that the environment names."""
    requested = host.environment.get("RMW_IMPLEMENTATION", "")
    try:
        used = run_json("-c", _START_NODE)
    except ProbeError as error:
        why = re.sub(r"^\[ERROR\] \[[\d.]+\] \[\w+\]: ", "", str(error))
        if not requested:
            remedy = "source /opt/ros/<distro>/setup.bash, and use that distribution's Python"
            return Finding("ROS", Verdict.ERROR, f"no node starts: {why}", remedy)
        package = f"ros-{host.environment.get('ROS_DISTRO', '<distro>')}-{requested.replace('_', '-')}"
        remedy = f"apt-get install {package}, or unset RMW_IMPLEMENTATION on the robot and in each container"
        return Finding("ROS", Verdict.ERROR, f"no node starts with RMW_IMPLEMENTATION {requested}: {why}", remedy)
    if requested and used != requested:
        remedy = "set RMW_IMPLEMENTATION to one name on the robot and in each container"
        return Finding("ROS", Verdict.ERROR, f"RMW_IMPLEMENTATION is {requested}, and {used} is used", remedy)
    return Finding("ROS", Verdict.OK, f"a node starts with {used}{'' if requested else ', the default'}")


def check_domain(host: Host) -> Finding:
    value = host.environment.get("ROS_DOMAIN_ID", "")
    if value and not (value.isdecimal() and int(value) <= _LAST_DOMAIN):
        remedy = f"set ROS_DOMAIN_ID to a number from 0 to {_LAST_DOMAIN}, the same on the robot and in each container"
        return Finding("domain", Verdict.ERROR, f"ROS_DOMAIN_ID is {value!r}", remedy)
    own = int(value or 0)
    others = sorted(_domains(host) - {own})
    if others and own not in _domains(host):
        says = f"nobody is in domain {own} on this machine, and somebody in {', '.join(map(str, others))}"
        return Finding("domain", Verdict.WARN, says, f"export ROS_DOMAIN_ID={others[0]}, if that is your robot")
    return Finding("domain", Verdict.OK, f"{own}{'' if value else ', the default'}")


def _domains(host: Host) -> set[int]:
    """Return the domains with a listening process on this machine, from the open UDP ports."""
    ports = re.findall(r"^ *\d+: [0-9A-F]{8}:([0-9A-F]{4}) ", host.read_text("/proc/net/udp"), re.MULTILINE)
    offsets = [int(port, 16) - _FIRST_PORT for port in ports]
    return {each // _PORTS for each in offsets if each >= 0 and each % _PORTS == 0 and each // _PORTS <= _LAST_DOMAIN}


def check_discovery_range(host: Host) -> Finding:
    """Check that nodes of other machines are discovered.

    ROS_LOCALHOST_ONLY is the variable of Humble; it wins in distributions that know both.
    """
    environment = host.environment
    discovery = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if discovery == "OFF":
        says = "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: nodes do not discover each other"
        return Finding("reach", Verdict.ERROR, says, "unset it, or set LOCALHOST or SUBNET")
    if environment.get("ROS_LOCALHOST_ONLY") == "1" or discovery == "LOCALHOST":
        name = "ROS_LOCALHOST_ONLY" if environment.get("ROS_LOCALHOST_ONLY") == "1" else "ROS_AUTOMATIC_DISCOVERY_RANGE"
        says = f"{name} keeps ROS on this machine: a base or a camera on another one is not heard"
        return Finding("reach", Verdict.WARN, says, f"unset {name} everywhere, if that is not meant")
    return Finding("reach", Verdict.OK, "other machines are heard")


def check_dds_profile(host: Host) -> Finding:
    """Check that the Fast DDS profile exists; Fast DDS ignores a missing file silently."""
    named = {name: host.environment[name] for name in _PROFILES if host.environment.get(name)}
    missing = next((f"{name} names {file}" for name, file in named.items() if not Path(file).is_file()), "")
    if missing:
        return Finding(
            "profile", Verdict.ERROR, f"{missing}, which is not there", "name config/fastdds.xml of this package"
        )
    used = host.environment.get("RMW_IMPLEMENTATION", _DEFAULT_RMW)
    if named and "fastrtps" not in used:
        return Finding("profile", Verdict.WARN, f"a Fast DDS profile does nothing for {used}", "tune that middleware")
    return Finding("profile", Verdict.OK, next(iter(named.values()), "that of the launch file"))


def check_shared_memory(host: Host) -> Finding:
    folder = host.path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", Verdict.WARN, "there is no /dev/shm: images go over UDP", _HOST_REMEDY)
    megabytes = shutil.disk_usage(folder).total / 1e6
    if megabytes < 4 * _SEGMENT:
        says = f"/dev/shm has {megabytes:.0f} MB, and each process with config/fastdds.xml takes {_SEGMENT}"
        return Finding(
            "shared memory", Verdict.WARN, says, "--ipc host, or --shm-size 512m with all nodes in one container"
        )
    return Finding("shared memory", Verdict.OK, f"{megabytes:.0f} MB")


def check_socket_buffers(host: Host) -> Finding:
    value = host.read_text("/proc/sys/net/core/rmem_max")
    if value.isdecimal() and int(value) < _BUFFER:
        says = f"net.core.rmem_max is {value}: raw images from another machine get lost"
        return Finding("socket buffers", Verdict.WARN, says, f"sudo sysctl -w net.core.rmem_max={_BUFFER}")
    return Finding("socket buffers", Verdict.OK, f"net.core.rmem_max is {value or 'unknown'}")


def check_network(host: Host) -> Finding:
    """Check that a container uses the host's network.

    Its own network card would be one end of a veth pair, with the other end on the host: its `iflink` is another
    index.
    """
    cards = [card for card in host.path("/sys/class/net").glob("*") if card.name != "lo"]
    indexes = [
        [host.read_text(f"/{(card / name).relative_to(host.root)}") for name in ("ifindex", "iflink")] for card in cards
    ]
    if not any(index == link for index, link in indexes):
        return Finding(
            "network", Verdict.ERROR, "this container has a network of its own: no ROS outside is heard", _HOST_REMEDY
        )
    return Finding("network", Verdict.OK, "the host's")


def check_image_loss() -> Finding:
    """Measure the loss of raw images between two processes with this environment's transport."""
    try:
        result = run_json("-m", "simple_clip_lstm_ros.harness.image_loss_probe")
    except ProbeError as error:
        return Finding("images arrive", Verdict.ERROR, f"could not be measured: {error}", _HOST_REMEDY)
    lost = 1 - result["received"] / result["sent"]
    says = f"{result['received']} of {result['sent']} raw images of {result['size']} in {result['seconds']:.0f} s"
    if not result["received"]:
        return Finding(
            "images arrive", Verdict.ERROR, says, "remove leftovers (`fastdds shm clean`); see shared memory"
        )
    if lost > _MAX_LOSS:
        remedy = "name config/fastdds.xml in the camera's process, or send compressed images"
        return Finding("images arrive", Verdict.WARN, says, remedy)
    return Finding("images arrive", Verdict.OK, says)


def check_camera_topic(topic: str) -> Finding:
    """Check rate, age and encoding of the images of the robot's camera."""
    check = f"camera {topic}"
    try:
        result = run_json("-m", "simple_clip_lstm_ros.harness.image_loss_probe", topic)
    except ProbeError as error:
        return Finding(check, Verdict.ERROR, f"could not be listened to: {error}", "look at the topic's name and type")
    if not result["received"]:
        remedy = "start the camera; `ros2 topic list` must show it here: same domain, same middleware, same network"
        return Finding(check, Verdict.ERROR, f"no image within {result['seconds']:.0f} s", remedy)
    says = f"{result['rate']:.1f} images a second, {1000 * result['age']:.0f} ms old"
    if result["problem"]:
        return Finding(check, Verdict.ERROR, result["problem"], "set the camera's driver to an encoding that is named")
    if abs(result["age"]) > 0.5:
        remedy = "synchronise the clocks (chrony), or have the driver stamp images with the system's time"
        return Finding(check, Verdict.ERROR, f"{says}: they would count as stale", remedy)
    return Finding(check, Verdict.OK, says)
