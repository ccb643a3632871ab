"""What the benchmarks share: the district they run on, their peers, and how a record is made."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from api.wiring import Timebank, timebank
from application.hours_import import HoursImport, ImportReport, import_in_turn
from application.sample import write_sample
from domain.decision import Role
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from infrastructure.embedded import EmbeddedPostgres, find_binaries
from infrastructure.settings import Settings
from infrastructure.tokens import issue_token

CONNECTIONS = 64
PGBENCH_CLIENTS = 16


@dataclass(frozen=True)
class Size:
    """How large the district is and how long each round of a timed benchmark lasts."""

    households_served: int
    hours: int
    seconds: int


FULL = Size(1898, 430_000, 6)
SHORT = Size(60, 6_000, 1)


@dataclass(frozen=True)
class District:
    """A sample district, imported and folded, on an embedded server of its own."""

    size: Size
    directory: Path
    settings: Settings
    server: EmbeddedPostgres

    @contextmanager
    def bank(self, ledger: str | None = None) -> Iterator[Timebank]:
        """The district's ledger, or a new one on the same server."""
        settings = self.settings if ledger is None else self.settings.model_copy(update={"ledger": ledger})
        opening = OpenLedger(name="benchmark", synthetic=True)
        with timebank(settings, opening, AdoptPolicy(effective_on=date(2022, 1, 1))) as bank:
            yield bank

    def files(self) -> list[Path]:
        return sorted((self.directory / "sample").glob("*.csv"))

    def token(self, bank: Timebank, person: str, role: Role) -> str:
        with psycopg.connect(bank.address) as connection:
            return issue_token(connection, bank.name, person, role, None).token


@contextmanager
def district(size: Size, directory: Path) -> Iterator[District]:
    """Write the sample and start a server; nothing is imported yet."""
    settings = Settings(data=directory / "data")
    with EmbeddedPostgres(settings.data) as server:
        write_sample(directory / "sample", households_served=size.households_served, hours=size.hours)
        yield District(size, directory, settings, server)


def import_all(bank: Timebank, files: list[Path]) -> float:
    """Import the sample's files, in facts a second; afterwards the projector catches up, off the clock."""

    def done(_: HoursImport, report: ImportReport) -> None:
        if report.rows_refused:
            raise RuntimeError(f"{report.file}: {report.rows_refused} rows of the sample were refused")

    before = bank.store.head()
    started = time.perf_counter()
    with bank.indexing():
        import_in_turn([HoursImport(bank.store, bank.zone, file, ledger_is_synthetic=True) for file in files], done)
    speed = per_second(bank.store.head() - before, started)
    bank.catch_up()
    return speed


def peak_memory_mb(pid: int | str = "self") -> int:
    """The most memory that a process held so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) // 1024  # type: ignore[union-attr]


def per_second(count: int, started: float) -> float:
    return count / (time.perf_counter() - started)


def pgbench_per_second(server: EmbeddedPostgres, seconds: int) -> float:
    """TPC-B-like transactions a second of pgbench with 16 clients, in a database of its own on the same server."""
    program = str(find_binaries() / "pgbench")
    with psycopg.connect(server.url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'pgbench'").fetchone():
            connection.execute("CREATE DATABASE pgbench")
            subprocess.run([program, "-i", "-q", "-s", "16", *_libpq(server)], check=True, capture_output=True)
    found = subprocess.run(
        [program, "-n", "-c", str(PGBENCH_CLIENTS), "-j", "2", "-T", str(seconds), *_libpq(server)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(re.search(r"tps = ([\d.]+)", found.stdout).group(1))  # type: ignore[union-attr]


def _libpq(server: EmbeddedPostgres) -> list[str]:
    given = conninfo_to_dict(server.url)
    return ["-h", str(given["host"]), "-U", str(given["user"]), "pgbench"]


def wrk() -> str | None:
    """The load generator, if it is installed."""
    return shutil.which("wrk")


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, the 99th percentile of their latency, and how many failed."""

    per_second: float
    p99_milliseconds: float
    failed: int


def load(url: str, seconds: int, script: str | None = None, arguments: tuple[str, ...] = ()) -> Load:
    """Put load on a URL of this machine with 64 connections for some seconds."""
    command = [str(wrk()), "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    if script is not None:
        command += ["-s", str(Path(__file__).with_name(script))]
    found = subprocess.run([*command, url, "--", *arguments], check=True, capture_output=True, text=True).stdout
    speed = float(re.search(r"Requests/sec:\s+([\d.]+)", found).group(1))  # type: ignore[union-attr]
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", found).groups()  # type: ignore[union-attr]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", found)
    milliseconds = float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return Load(speed, milliseconds, int(failed.group(1)) if failed else 0)


@contextmanager
def service(of: District) -> Iterator[tuple[str, int]]:
    """The service in a process of its own, with two routes that do nothing beside its own: its URL and its pid."""
    environment = {**os.environ, "TIMEBANK_DATA": str(of.settings.data)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or not (line := process.stdout.readline()):
            raise RuntimeError("the service did not start")
        yield json.loads(line)["url"], process.pid
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def rounded(number: float) -> float:
    return round(number) if number >= 100 else round(number, 2)
