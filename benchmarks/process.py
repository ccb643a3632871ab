"""A program run to its end, and what it took: in a small process of its own, for the kernel counts what whoever
starts a program holds as if that program had held it.

    python -S benchmarks/process.py COMMAND …

prints one JSON line. The program's answer is thrown away; what it says on stderr comes out on this one's.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TypedDict

POLLED_SECONDS = 0.1
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_PARENT = re.compile(r"PPid:\s+(\d+)")


class Taken(TypedDict):
    """What a program took. Memory is the most that each process held: of the largest, and of all processes together,
    which are not at their most at the same time and share some of it, so that the true sum is less."""

    seconds: float
    peak_memory_mb: int
    peak_memory_of_all_mb: int
    status: int


def taken_by(*command: object) -> Taken:
    """Run a command and tell what it took. Raises: RuntimeError where it ends with another status than 0."""
    launcher = [sys.executable, "-S", str(Path(__file__))]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*launcher, *map(str, command)], env=environment, capture_output=True, text=True, check=False)
    taken: Taken | None = json.loads(done.stdout) if done.stdout else None
    if taken is None or taken["status"]:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr}")
    return taken


def _run(command: list[str]) -> Taken:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ended = threading.Event()
    peaks_kb: dict[int, int] = {}
    watching = threading.Thread(target=_watch, args=(process.pid, ended, peaks_kb))
    watching.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    ended.set()
    watching.join()
    # That of the largest is the kernel's own, the others are as they were seen last.
    largest_kb = usage.ru_maxrss
    return Taken(
        seconds=round(seconds, 2),
        peak_memory_mb=largest_kb // 1024,
        peak_memory_of_all_mb=max(largest_kb, sum(peaks_kb.values())) // 1024,
        status=os.waitstatus_to_exitcode(status),
    )


def _watch(pid: int, ended: threading.Event, peaks_kb: dict[int, int]) -> None:
    """Note the peak of a process and of all that it starts, until it has ended."""
    parents: dict[int, int] = {}
    while not ended.wait(POLLED_SECONDS):
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) not in parents:
                found = _PARENT.search(_status(int(name)))
                parents[int(name)] = int(found[1]) if found else 0
        mine = {pid}
        for child, parent in sorted(parents.items()):
            if parent in mine:
                mine.add(child)
        for one in mine:
            peak = _PEAK.search(_status(one))
            if peak:
                peaks_kb[one] = int(peak[1])


def _status(pid: int) -> str:
    """Nothing for what has ended."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1:])))
