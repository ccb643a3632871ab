"""The program as its users run it: commands, and services in processes of their own."""

import atexit
import json
import multiprocessing.connection
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120


def environment(**settings: object) -> dict[str, str]:
    """Ours, without what is set for the time bank, and with these settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIMEBANK_", "PG")) and name != "PORT"
    }
    return kept | {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in settings.items()}


_forks = multiprocessing.get_context("forkserver")
# Loading all commands takes two seconds of processor time: one process loads them, and each command is a fork of that.
_COMMANDS = [f"api.{path.stem}" for path in sorted((ROOT / "api").glob("*_command.py"))]
_forks.set_forkserver_preload(["api.command_line", "api.command_error", *_COMMANDS, __name__])
# A fork's exit status can be read once, and whoever starts another reads those of all.
_reading_status = threading.Lock()


@cache
def _printed() -> str:
    """Where the commands print: below one directory, which goes when the tests end."""
    directory = tempfile.mkdtemp(prefix="timebank-printed-")
    atexit.register(shutil.rmtree, directory)
    return directory


def _program(arguments: list[str], settings: dict[str, str], directory: str, printed: str) -> None:
    """In the fork: become the program, as if the shell had started it."""
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(settings)
    time.tzset()
    for number, path in enumerate((os.devnull, f"{printed}/stdout", f"{printed}/stderr")):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["timebank", *arguments]
    from api.command_line import main

    main()


class Command:
    """One command in a process, a session and a process group of its own."""

    def __init__(self, *arguments: object, **settings: object) -> None:
        self._printed = Path(tempfile.mkdtemp(dir=_printed()))
        self._process = _forks.Process(
            target=_program,
            args=([*map(str, arguments)], environment(**settings), os.getcwd(), str(self._printed)),
        )
        with _reading_status:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def _read(self, name: str) -> str:
        path = self._printed / name
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    @property
    def running(self) -> bool:
        with _reading_status:
            return self._process.is_alive()

    def send_signal(self, by: signal.Signals) -> None:
        os.kill(self.pid, by)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Its exit status, or the negative number of the signal that ended it."""
        multiprocessing.connection.wait([self._process.sentinel], seconds)
        if self.running:
            self._process.kill()
            raise TimeoutError(f"still running after {seconds} s: {self.stderr}")
        assert self._process.exitcode is not None
        return self._process.exitcode


def run(*arguments: object, timeout: float = DEADLINE_SECONDS, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command with these settings, such as ``run("figures", "--json", TIMEBANK_DATA=…)``."""
    command = Command(*arguments, **settings)
    status = command.wait(timeout)
    return subprocess.CompletedProcess(arguments, status, command.stdout, command.stderr)


def answer(*arguments: object, status: int = 0, **settings: object) -> Any:
    """The answer of a command with --json: exactly one document on stdout."""
    done = run(*arguments, "--json", **settings)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


# Processes that are started side by side have numbers side by side: each has a hundred ports of its own.
_ports = iter(range(20_000 + os.getpid() % 100 * 100, 32_000))


def free_port() -> int:
    """Never the same twice, and below the ports that the system gives to connections of its own."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


class ServiceProcess:
    """A service in a process of its own, on a port of its own."""

    def __init__(self, *command: str, **settings: object) -> None:
        self.command, self.settings = command or ("serve",), settings
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = Command(*self.command, PORT=self.port, **self.settings)

    def wait_until_it_answers(self) -> None:
        def answers() -> bool:
            assert self.process.running, self.process.stderr
            try:
                return httpx.get(self.address + "/v1/status").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)

    def end(self, by: signal.Signals) -> int:
        """Send it a signal and wait until it is gone; its exit status."""
        self.process.send_signal(by)
        return self.process.wait()


@contextmanager
def services(count: int, **settings: object) -> Iterator[list[ServiceProcess]]:
    """Services that answer, on one database; ended afterwards."""
    started = [ServiceProcess(**settings) for _ in range(count)]
    try:
        for one in started:
            one.wait_until_it_answers()
        yield started
    finally:
        for one in started:
            if one.process.running:
                one.end(signal.SIGTERM)
