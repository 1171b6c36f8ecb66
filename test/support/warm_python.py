"""Start Python programs as processes of their own without the seconds that importing torch and transformers takes.

A server has imported them once and forks a child for each program: a real process, with its own stdin, stdout, stderr,
folder, environment, session and exit code.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import termios
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PR_SET_CHILD_SUBREAPER = 36
_LARGEST = 1 << 20  # bytes of a request
# What takes long to import. Not rclpy: it takes no time, and Fast DDS starts threads, which a fork leaves behind. Nor
# the command line: its consoles find out at once whether they are at a terminal.
_MODULES = (
    "checkpoint.convert",
    "checkpoint.load",
    "checkpoint.inspect_report",
    "checkpoint.random_checkpoint",
    "policy.sample_images",
)
_LIBRARIES = ("cv2", "matplotlib.figure", "prompt_toolkit.shortcuts", "rich.progress")


class WarmPython:
    """The server. `start` takes what follows `python`: a script, or `-m` and a module, or `-c` and a program."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, __file__, str(theirs.fileno())]
        # Pools of threads do not survive a fork.
        alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | alone
        self._server = subprocess.Popen(words, env=environment, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()

    def start(self, words: Sequence[object], *, limit: int = 300, **options: Any) -> subprocess.Popen[Any]:
        """Start a program with the options of Popen; it is killed after `limit` seconds, whatever happens."""
        return _Child(self._socket, limit, list(map(str, words)), **options)

    def close(self) -> None:
        self._socket.close()
        self._server.wait()


class _Child(subprocess.Popen):
    """A Popen whose process the server forks; all else is inherited, with what it knows of pipes and waiting."""

    def __init__(self, server: socket.socket, limit: int, words: list[str], **options: Any) -> None:
        self._server, self._limit = server, limit
        super().__init__(words, **options)

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        _, _, _, _, cwd, env, _, _, _, *pipes = rest[:15]
        p2cread, _, _, c2pwrite, _, errwrite = pipes
        streams = [own if fd == -1 else fd for own, fd in enumerate((p2cread, c2pwrite, errwrite))]
        request = {"words": args, "folder": str(cwd or Path.cwd()), "environment": dict(env or os.environ)}
        data = json.dumps(request | {"limit": self._limit}).encode()
        # The child of a server would be the server's to wait for. Its parent ends at once, and it becomes ours.
        _adopt_orphans(True)
        try:
            self._server.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))])
            answer = self._server.recv(64)
        finally:
            _adopt_orphans(False)
            self._close_pipe_fds(*pipes)
        if not answer:
            raise RuntimeError("the server of warm processes has ended; its traceback is above")
        self.pid = int(answer)
        self._child_created = True


def _adopt_orphans(adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def _serve(connection: socket.socket) -> None:
    while True:
        data, ancillary, _, _ = connection.recvmsg(_LARGEST, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        if not data:
            return
        streams = array.array("i")
        streams.frombytes(ancillary[0][2])
        reader, writer = os.pipe()
        parent = os.fork()
        if not parent:
            child = os.fork()
            if child:
                os.write(writer, str(child).encode())
                os._exit(0)
            connection.close()
            os.close(reader)
            os.close(writer)
            _become(streams, **json.loads(data))
        os.waitpid(parent, 0)
        os.close(writer)
        pid = os.read(reader, 64)
        for descriptor in (reader, *streams):
            os.close(descriptor)
        connection.send(pid)


def _become(streams: Sequence[int], words: list[str], folder: str, environment: Mapping[str, str], limit: int) -> None:
    """Run a program as the interpreter would, and exit as it would."""
    os.setsid()
    signal.alarm(limit)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in streams:
        os.close(descriptor)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # of the new session: Ctrl-C comes from there
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code: Any = 0
    try:
        _run(words)
    except SystemExit as exit:
        code = exit.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the interpreter says so and exits with 120
        traceback.print_exc()
        code = code or 120
    # To take down all those libraries would cost most of the time.
    os._exit({None: 0}.get(code, code) if isinstance(code, int | None) else 1)


def _run(words: list[str]) -> None:
    first, *rest = words
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background of a shell ignores it
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if first == "-m":
        module, *arguments = rest
        sys.path[:1] = [os.getcwd(), *added]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif first == "-c":
        program, *arguments = rest
        sys.path[:1] = ["", *added]
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.path[:1] = [str(Path(first).parent), *added]
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    import numpy as np
    import torch

    torch.set_num_threads(1)
    for module in (*_LIBRARIES, *(f"simple_clip_lstm_ros.{each}" for each in _MODULES)):
        importlib.import_module(module)
    from simple_clip_lstm_ros.checkpoint import load, user_input

    # What is imported on first use is there too.
    load.load_policy(user_input.resolve_path("builtin:tiny"), device="cpu").step(np.zeros((48, 64, 3), np.uint8), "go")
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: only the one that forks would live on in a child"
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
