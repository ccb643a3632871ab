"""The program as its users run it: commands, and services in processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120
PROGRAM = (sys.executable, "-c", "from api.command_line import main; main()")


def environment(**settings: object) -> dict[str, str]:
    """Ours, without what is set for the time bank, and with these settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIMEBANK_", "PG")) and name != "PORT"
    }
    return kept | {"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in settings.items()}


def run(*arguments: object, timeout: float = DEADLINE_SECONDS, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command with these settings, such as ``run("figures", "--json", TIMEBANK_DATA=…)``."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


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


_ports = iter(range(20_000 + os.getpid() % 5_000, 32_000))


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
        self.process = subprocess.Popen(
            [*PROGRAM, *self.command],
            env=environment(PORT=self.port, **self.settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_it_answers(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            try:
                return httpx.get(self.address + "/v1/status").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)

    def end(self, by: signal.Signals) -> int:
        """Send it a signal and wait until it is gone; its exit status."""
        self.process.send_signal(by)
        self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode


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
            if one.process.poll() is None:
                one.end(signal.SIGTERM)
            else:
                one.process.communicate()
