"""The commands as staff run them: what they answer, what they refuse, and what is left when they are killed."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery

from api.command_line import whole_program
from api.wiring import timebank
from application.replay import replay
from application.sample import SampleSummary
from infrastructure.embedded import DiskFull
from tests.api.processes import ServiceProcess, answer, free_port, run, services, until
from tests.conftest import settings_for
from tests.contract.test_embedded import needs_root, small_disk

SMALL = ("--households-served", 20, "--hours", 400)


def commands(group: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in (group or whole_program()).commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))


@pytest.fixture
def sample_set(sample_url: str) -> dict[str, str]:
    """The settings for a ledger of its own with the small district in it."""
    return {"TIMEBANK_DATABASE_URL": sample_url}


def damage(address: str, statement: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute("SET search_path TO projection_qingxiu")
        assert connection.execute(statement.encode()).rowcount == 1


# ── Help, answers and errors ─────────────────────────────────────────────────────────────────────────────────────


def test_every_command_explains_itself_in_chinese_and_english_and_starts_nothing(tmp_path: Path) -> None:
    found = list(commands())
    assert len(found) >= 14
    with ThreadPoolExecutor(2) as pool:
        shown = list(pool.map(lambda names: run(*names, "--help", TIMEBANK_DATA=tmp_path / "data"), found))
    for names, done in zip(found, shown, strict=True):
        assert (done.returncode, done.stderr) == (0, ""), names
        assert re.search("[一-鿿]{4}", done.stdout), names
        assert re.search("[A-Za-z]{4}", done.stdout), names
    assert not (tmp_path / "data").exists()


def test_a_signing_key_is_made_once_outside_the_database_and_only_its_public_part_is_shown(tmp_path: Path) -> None:
    data = {"TIMEBANK_DATA": tmp_path / "data"}
    assert "timebank keys init" in run("keys", "show", **data).stderr
    made = answer("keys", "init", **data)
    assert made["key"].startswith("qingxiu+")
    stored = Path(made["file"])
    assert stored.stat().st_mode & 0o777 == 0o600
    assert answer("keys", "show", **data) == made
    shown = run("keys", "show", **data)
    assert shown.stdout == made["key"] + "\n"
    *_, secret = stored.read_text().strip().split("+", 4)  # which may have a + of its own
    assert len(secret) == 44
    assert secret not in shown.stdout + shown.stderr
    again = run("keys", "init", **data)
    assert (again.returncode, again.stdout) == (1, "")
    assert str(stored) in again.stderr
    assert answer("db", "open", "--name", "新开", "--policy-from", "2026-01-01", **data)["ledger"] == "qingxiu"


def test_each_answer_is_one_json_document(sample_set: dict[str, str], sample: tuple[Path, SampleSummary]) -> None:
    _, summary = sample
    figures = answer("figures", "--by", "grid", "--level", 2, **sample_set)
    assert figures.keys() >= {"households_served", "service_minutes", "service_records", "as_of", "position", "basis"}
    assert figures["households_served"] == summary.households_served == 20
    assert figures["service_minutes"] == summary.service_minutes >= 400 * 60
    assert figures["service_records"] == summary.confirmed
    assert sum(cell["service_minutes"] for cell in figures["cells"]) == summary.service_minutes
    replayed = answer("replay", **sample_set)
    assert (replayed["differences"], replayed["conserved"], replayed["total_minutes"]) == ([], True, 0)
    assert replayed["position"] == replayed["facts"] == figures["position"]
    assert replayed["figures"]["households_served"] == 20
    name, minutes = next((n, m) for n, m in replayed["balances"].items() if n.startswith("household:") and m)
    assert answer("balance", name.removeprefix("household:"), **sample_set)["balance_minutes"] == minutes
    community = figures["cells"][0]["key"].split("/")[0]
    assert answer("balance", "--pool", community, **sample_set)["account"] == "pool:" + community
    assert answer("rebuild", **sample_set) == {"position": replayed["position"]}
    status = answer("db", "status", **sample_set)
    assert status["ledgers"] == {"qingxiu": replayed["position"]}
    assert status["schema_version"] == status["schema_version_of_program"]
    opened = answer("db", "open", "--name", "另一个", "--policy-from", "2021-01-01", **sample_set)
    assert (opened["name"], opened["position"]) == ("合成示例区", replayed["position"])


def test_answers_for_people_are_plain_where_there_is_no_terminal(sample_set: dict[str, str]) -> None:
    for arguments in (("figures",), ("replay",), ("db", "status")):
        done = run(*arguments, **sample_set)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert done.stdout.strip()


def test_every_refused_row_is_one_line_where_there_is_no_terminal(sample_set: dict[str, str], hours_csv: Path) -> None:
    problems = answer("import", hours_csv, "--dry-run", status=1, **sample_set)["problems"]
    lines = run("import", hours_csv, "--dry-run", **sample_set).stdout.splitlines()
    for problem in problems:
        told = [line for line in lines if line.split()[:2] == [str(problem["row"]), problem["field"]]]
        assert len(told) == 1
        assert problem["reason_zh"] in told[0]
        assert problem["reason_en"] in told[0]


ERRORS: dict[str, tuple[tuple[object, ...], dict[str, object], str]] = {
    "a bad date": (("figures", "--as-of", "31.10.2026"), {}, "2026-10-31"),
    "a bad time": (("replay", "--as-of", "noon"), {}, "T18:00:00"),
    "an unknown household": (("balance", "H-NONE"), {}, "H-NONE"),
    "a household that can't be one": (("balance", "H\udcff"), {}, "household's number"),
    "a pool that can't be one": (("balance", "--pool", "\udcff"), {}, "community's name"),
    "an unknown pool": (("balance", "--pool", "没有社区"), {}, "社区“没有社区”没有登记"),
    "a ledger that is not open": (("figures",), {"TIMEBANK_LEDGER": "elsewhere"}, "timebank db open"),
    "a bad port": (("serve",), {"PORT": "http"}, "PORT"),
    "a host that is none": (("serve",), {"TIMEBANK_HOST": "no host"}, "TIMEBANK_HOST"),
    "a directory that is no text": (("db", "status"), {"TIMEBANK_DATA": "no-\udcff"}, "TIMEBANK_DATA"),
    "a community that can't be one": (
        ("token", "add", "--role", "staff", "--person", "S1", "--community", "\udcff"),
        {},
        "community's name",
    ),
    "a bad ledger": (("figures",), {"TIMEBANK_LEDGER": "Bad Name"}, "TIMEBANK_LEDGER"),
    "a file that is not there": (("import", "no-such-file.csv"), {}, "no-such-file.csv"),
    "a directory for a file": (("import", "/"), {}, "/"),
    "an unreachable database": (("figures",), {"TIMEBANK_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"}, "127"),
    "a bad database address": (("figures",), {"TIMEBANK_DATABASE_URL": "what=ever=hunter2"}, "TIMEBANK_DATABASE_URL"),
    "a personal number": (("token", "add", "--role", "staff", "--person", "13812345678"), {}, "个人信息"),
    "a bad zone": (
        ("db", "open", "--name", "x", "--policy-from", "2020-01-01", "--zone", "Mars/Olympus"),
        {"TIMEBANK_LEDGER": "mars"},
        "Asia/Shanghai",
    ),
    "a sample that no district fits": (
        ("demo", "--no-serve", "--households-served", 20, "--hours", 1),
        {},
        "hours must be",
    ),
    "a sample into other files": (("sample", "/usr"), {}, "/usr"),
}


def test_what_a_person_can_mend_is_one_line_that_says_how(sample_set: dict[str, str], tmp_path: Path) -> None:
    def one(case: tuple[tuple[object, ...], dict[str, object], str]) -> Any:
        arguments, settings, _ = case
        return run(*arguments, **(sample_set | {"TIMEBANK_DATA": tmp_path} | settings))  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(ERRORS, pool.map(one, ERRORS.values()), strict=True))
    for what, done in results.items():
        lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]
        assert (done.returncode, done.stdout) == (1, ""), (what, done)
        assert len(lines) == 1, (what, done.stderr)
        assert lines[0].startswith("timebank: ")
        assert ERRORS[what][2] in lines[0], (what, lines)
        assert re.search("[一-鿿]", lines[0])
        assert "hunter2" not in done.stderr


def test_a_port_in_use_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port := free_port()))
        taken.listen()
        for command in (("serve",), ("demo", *SMALL)):
            done = run(*command, PORT=port, TIMEBANK_DATA=tmp_path / "data")
            assert done.returncode == 1
            assert f"127.0.0.1:{port}" in done.stderr
            assert "PORT=" in done.stderr
    assert not (tmp_path / "data").exists()


@needs_root
def test_a_disk_that_fills_up_at_work_is_named_and_what_was_recorded_is_there_once_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 130) as disk:
        data = {"TIMEBANK_DATA": disk / "data"}
        done = run("demo", "--no-serve", **data)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == f"timebank: {DiskFull(disk / 'data')}"
        subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
        assert run("demo", "--no-serve", *SMALL, **data).returncode == 0
        assert answer("replay", **data)["differences"] == []


@pytest.mark.parametrize("command", [("serve",), ("figures",), ("replay",), ("rebuild",)])
def test_a_fact_of_an_unknown_type_stops_every_command_with_one_line(
    sample_set: dict[str, str], command: tuple[str, ...]
) -> None:
    with timebank(settings_for(sample_set["TIMEBANK_DATABASE_URL"])) as bank:
        later = DCBEvent("moon-landed.v9", b"{}", ["moon:1"])
        bank.store.journal.append_facts([later], DCBAppendCondition(DCBQuery(), bank.store.head()))
    done = run(*command, PORT=free_port(), **sample_set)
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]
    assert (done.returncode, done.stdout, len(lines)) == (1, "", 1), done.stderr
    assert "moon-landed.v9" in lines[0]


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_service_can_be_bound_to_an_address_of_ipv6(sample_set: dict[str, str]) -> None:
    service = ServiceProcess(TIMEBANK_HOST="::1", **sample_set)
    service.address = f"http://[::1]:{service.port}"
    try:
        service.wait_until_it_answers()
    finally:
        service.end(signal.SIGTERM)


# ── Import ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hours_csv(tmp_path: Path, sample: tuple[Path, SampleSummary]) -> Path:
    """The sample's last file, its last row claiming the hours of the one before it."""
    directory, summary = sample
    copied = tmp_path / "hours.csv"
    lines = (directory / summary.files[-1]).read_text().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if "," in line and not line.startswith("#"))
    number = lines[-1].split(",")[0]
    again = lines[-1].replace(number, "ANOTHER-1", 1)
    copied.write_text("".join([*lines[: first + 1], lines[-1].replace(number, "ANOTHER-0", 1), again]))
    return copied


def test_an_import_is_all_or_nothing_unless_bad_rows_are_to_be_skipped(
    sample_set: dict[str, str], hours_csv: Path
) -> None:
    def head() -> int:
        return int(answer("db", "status", **sample_set)["ledgers"]["qingxiu"])

    refused = hours_csv.with_name("hours.refused.csv")
    before = head()
    dry = answer("import", hours_csv, "--dry-run", status=1, **sample_set)
    assert (dry["dry_run"], dry["rows"], dry["rows_refused"], dry["position"]) == (True, 2, 2, None)
    assert all(p["row"] and p["field"] and p["reason_zh"] and p["reason_en"] for p in dry["problems"])
    assert not refused.exists()
    real = answer("import", hours_csv, status=1, **sample_set)
    assert (real["rows_imported"], real["position"], head()) == (0, None, before)
    assert not refused.exists()
    # Under another day's clock both rows are new to the ledger; they still overlap each other.
    moved = hours_csv.with_name("moved.csv")
    moved.write_text(re.sub(r"20(\d\d)([-/年])", r"2021\2", hours_csv.read_text()))
    skipped = answer("import", moved, "--skip-bad", **sample_set)
    assert (skipped["rows_imported"], skipped["rows_refused"]) == (1, 1)
    assert skipped["position"] == head() > before
    assert Path(skipped["refused_file"]).exists()
    again = answer("import", moved, "--skip-bad", **sample_set)
    assert (again["rows_imported"], again["rows_already_there"], again["rows_refused"]) == (0, 1, 1)
    assert answer("replay", **sample_set)["differences"] == []


def test_a_synthetic_file_stays_out_of_a_real_ledger(
    ledgers_url: str, sample: tuple[Path, SampleSummary], tmp_path: Path
) -> None:
    directory, summary = sample
    settings = {"TIMEBANK_DATABASE_URL": ledgers_url, "TIMEBANK_LEDGER": "real"}
    opened = answer("db", "open", "--name", "真实账本", "--policy-from", "2020-01-01", **settings)
    assert opened["position"] == 2
    done = run("import", directory / summary.files[0], **settings)
    assert done.returncode == 1
    assert "合成数据" in done.stderr
    done = run("demo", "--no-serve", *SMALL, **settings, TIMEBANK_DATA=tmp_path)
    assert done.returncode == 1
    assert "真实账本" in done.stderr
    assert answer("db", "status", **settings)["ledgers"]["real"] == 2


# ── Replay ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "UPDATE accounts SET balance_minutes = balance_minutes + 1 WHERE account ="
            " (SELECT min(account) FROM accounts WHERE account LIKE 'household:%' AND last_position > 0)",
            r"^balance household:",
        ),
        (
            "UPDATE hours SET service_minutes = service_minutes + 1 WHERE record ="
            " (SELECT min(record) FROM hours WHERE status = 'confirmed')",
            r"^figures$",
        ),
        (
            "UPDATE hours SET status = 'confirmed' WHERE record ="
            " (SELECT min(record) FROM hours WHERE status = 'rejected')",
            r"^month \d{4}-\d\d$",
        ),
        ("DELETE FROM accounts WHERE account = 'issuance'", r"^balance issuance$"),
        ("UPDATE checkpoint SET position = position + 1000", r"^checkpoint$"),
    ],
)
def test_whatever_is_changed_in_the_projections_replay_finds_and_a_rebuild_mends(
    sample_set: dict[str, str], sample_url: str, statement: str, named: str
) -> None:
    damage(sample_url, statement)
    found = answer("replay", status=1, **sample_set)
    assert any(re.search(named, difference["what"]) for difference in found["differences"])
    shown = run("replay", **sample_set)
    assert shown.returncode == 1
    assert "✗" in shown.stdout
    answer("rebuild", **sample_set)
    assert answer("replay", **sample_set)["differences"] == []


ONE_RECORD = "WHERE record = (SELECT min(record) FROM hours WHERE status = 'confirmed')"
ONE_REJECTED = "WHERE record = (SELECT min(record) FROM hours WHERE status = 'rejected')"
ONE_ACCOUNT = "WHERE account = (SELECT min(account) FROM accounts WHERE account LIKE 'household:%')"
ONE_MOVEMENT = "WHERE position = (SELECT min(position) FROM movements)"
EDITS = {
    "hours": (
        *(
            f"UPDATE hours SET {change} {ONE_RECORD}"
            for change in (
                "worked_on = worked_on + 1",
                "grid = 'nowhere'",
                "volunteer = 'V0'",
                "household = 'H0'",
                "settled_by = 'S0'",
                "credit_minutes = credit_minutes + 1",
                "status = 'logged'",
            )
        ),
        f"DELETE FROM hours {ONE_REJECTED}",
    ),
    "accounts": tuple(
        f"UPDATE accounts SET {change} {ONE_ACCOUNT}"
        for change in (
            "earned_minutes = earned_minutes + 1",
            "spent_minutes = spent_minutes + 1",
            "community = 'nowhere'",
            "last_activity_microseconds = 1",
            "last_position = 0, balance_minutes = 5",
        )
    ),
    "movements": (
        f"UPDATE movements SET kind = 'odd' {ONE_MOVEMENT}",
        f"DELETE FROM movements {ONE_MOVEMENT}",
        f"INSERT INTO movements SELECT * FROM movements {ONE_MOVEMENT}",
    ),
    "people": ("DELETE FROM people",),
    "households": ("DELETE FROM households",),
    "grids": ("DELETE FROM grids",),
    "communities": ("DELETE FROM communities",),
}


@pytest.mark.parametrize(("table", "statement"), [(table, edit) for table, edits in EDITS.items() for edit in edits])
def test_every_row_is_compared(sample_url: str, table: str, statement: str) -> None:
    with timebank(settings_for(sample_url)) as bank, contextlib.closing(bank.projector()) as projector:
        with psycopg.connect(sample_url) as connection:
            connection.execute("SET search_path TO projection_qingxiu")
            changed = connection.execute(statement.encode()).rowcount
        with projector.compared() as compared:
            assert compared.position == bank.store.head()
            counted, *named = compared.differences
    assert counted.what == f"table {table}"
    assert max(side["not_in_the_other"] for side in (counted.folded_anew, counted.found)) == changed  # type: ignore[index]
    assert 1 <= len(named) <= 5
    assert all(each.what.startswith(f"row {table} ") for each in named)


def test_a_checkpoint_set_back_is_one_line_that_says_to_rebuild(sample_set: dict[str, str], sample_url: str) -> None:
    damage(sample_url, "UPDATE checkpoint SET position = 0")
    done = run("replay", **sample_set)
    assert done.returncode == 1
    assert "timebank rebuild" in done.stderr
    assert "Traceback" not in done.stderr


def test_replay_and_balance_say_that_the_data_is_synthetic(sample_set: dict[str, str]) -> None:
    for arguments in (("replay",), ("balance", "H00001")):
        assert answer(*arguments, **sample_set)["synthetic"] is True
        assert "Synthetic data" in run(*arguments, **sample_set).stdout


def test_replay_up_to_a_position_and_up_to_a_time(sample_set: dict[str, str], sample_url: str) -> None:
    with timebank(settings_for(sample_url)) as bank:
        head = bank.store.head()
        for position in (0, 1, head // 2, head, head + 100):
            found = answer("replay", "--to", position, **sample_set)
            assert (found["position"], found["differences"]) == (min(position, head), [])
            assert found["balances"] == replay(bank.store, min(position, head)).counted().balances
    before = datetime.now(UTC) - timedelta(days=1)
    assert answer("replay", "--as-of", before.isoformat(), **sample_set)["position"] == 0
    assert answer("replay", "--as-of", datetime.now(UTC).isoformat(), **sample_set)["position"] == head
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    assert answer("replay", "--as-of", today - timedelta(days=2), **sample_set)["position"] == 0
    assert answer("replay", "--as-of", today, **sample_set)["position"] == head
    assert run("replay", "--to", "1", "--as-of", "2026-01-01", **sample_set).returncode == 2


@pytest.mark.parametrize("wrong", [("nonsense",), ("figures", "--nonsense"), ("replay", "--to", "x"), ("sample",)])
def test_a_command_that_is_wrongly_written_is_told_in_plain_lines_where_nobody_looks(wrong: tuple[str, ...]) -> None:
    done = run(*wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert not re.search("[\u2500-\u257f]", done.stderr)
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert not re.search("[\u2500-\u257f]", run("--help").stdout)


# ── The demo, and the embedded database ──────────────────────────────────────────────────────────────────────────


def nothing_runs_in(data: Path) -> bool:
    """No process has the data directory, or one below it, as its working directory."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(data):
                return False
        except OSError:
            continue
    return True


def test_a_demo_killed_in_the_middle_is_completed_and_a_third_adds_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    demo = ("demo", "--no-serve", *map(str, SMALL))
    killed = ServiceProcess(*demo, TIMEBANK_DATA=data)
    until(lambda: "已导入 Imported " in killed.process.stderr)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: nothing_runs_in(data))
    shutil.copytree(data / "sample", tmp_path / "left")
    completed = run(*demo, TIMEBANK_DATA=data)
    assert completed.returncode == 0, completed.stderr
    # Of the import, too, if the kill came before its end, which is a twentieth of a second after its first file.
    assert "情景" in completed.stderr
    figures = answer("figures", TIMEBANK_DATA=data)
    assert (figures["households_served"], figures["service_minutes"] >= 24_000) == (20, True)
    again = run(*demo, TIMEBANK_DATA=data)
    assert again.returncode == 0
    assert "导入" not in again.stderr
    assert "情景" not in again.stderr
    roles = "volunteer|staff|auditor|admin|partner"
    assert len(re.findall(rf"^  (?:{roles}) +tb_\S{{43}} ", again.stdout, re.MULTILINE)) == 5
    assert answer("figures", TIMEBANK_DATA=data) == figures
    assert answer("replay", TIMEBANK_DATA=data)["differences"] == []
    until(lambda: nothing_runs_in(data))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an embedded database and an open ledger."""
    directory = tmp_path_factory.mktemp("served") / "data"
    answer("db", "open", "--name", "x", "--synthetic", "--policy-from", "2020-01-01", TIMEBANK_DATA=directory)
    return directory


@pytest.mark.parametrize(
    ("by", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_service_that_is_ended_leaves_no_process_behind(data: Path, by: signal.Signals, status: int) -> None:
    service = ServiceProcess(TIMEBANK_DATA=data)
    service.wait_until_it_answers()
    assert not nothing_runs_in(data)
    assert service.end(by) in (status, 128 - status if by is signal.SIGTERM else status)
    until(lambda: nothing_runs_in(data))


def test_tokens_are_added_and_revoked_while_the_service_runs(ledgers_url: str) -> None:
    settings = {"TIMEBANK_DATABASE_URL": ledgers_url, "TIMEBANK_LEDGER": "tokens"}
    answer("db", "open", "--name", "x", "--policy-from", "2020-01-01", **settings)
    with services(1, **settings) as (service,):
        token = answer("token", "add", "--role", "auditor", "--person", "U7", **settings)["token"]

        def status() -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return httpx.get(service.address + "/v1/households", headers=headers).status_code

        assert status() == 200
        assert answer("token", "revoke", "--person", "U7", **settings) == {"person": "U7", "revoked": 1}
        until(lambda: status() == 401, seconds=5.5)
        assert answer("token", "revoke", "--person", "U7", **settings)["revoked"] == 0


def test_a_token_is_for_a_community_and_a_volunteer_that_the_ledger_knows(sample_set: dict[str, str]) -> None:
    def add(*arguments: str) -> Any:
        return run("token", "add", *arguments, **sample_set)

    unknown = add("--role", "staff", "--person", "S0101", "--community", "新竹")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "社区“新竹”没有登记" in unknown.stderr
    nobody = add("--role", "volunteer", "--person", "S0101")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "“S0101”还不是注册志愿者" in nobody.stderr
    no_shop = add("--role", "partner", "--person", "P001")
    assert (no_shop.returncode, no_shop.stdout) == (1, "")
    assert "合作单位“P001”没有登记" in no_shop.stderr
    made = answer(
        "token", "add", "--role", "staff", "--person", " Ｓ０１０１", "--community", "新竹社区 ", **sample_set
    )
    assert (made["person"], made["community"]) == ("S0101", "新竹社区")
    assert answer("token", "add", "--role", "volunteer", "--person", "V00001", **sample_set)["person"] == "V00001"
    assert answer("token", "revoke", "--person", "Ｓ０１０１", **sample_set) == {"person": "S0101", "revoked": 1}
    for role, person in (("auditor", "A001"), ("admin", "D001"), ("staff", "S0")):
        assert answer("token", "add", "--role", role, "--person", person, **sample_set)["role"] == role


def test_nothing_that_was_acknowledged_is_lost_when_the_service_is_killed_under_load(data: Path) -> None:
    token = answer("token", "add", "--role", "admin", "--person", "A1", TIMEBANK_DATA=data)["token"]
    headers = {"Authorization": f"Bearer {token}"}
    acknowledged: dict[int, str] = {}
    lock = threading.Lock()
    enough = threading.Event()

    def write(address: str, writer: int) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            for n in range(100_000):
                name = f"社区{writer}-{n}"
                try:
                    position = client.post("/v1/communities", json={"community": name}).json()["position"]
                except (httpx.HTTPError, ValueError):
                    return
                with lock:
                    acknowledged[position] = name
                    if len(acknowledged) > 300:
                        enough.set()

    with services(1, TIMEBANK_DATA=data) as (service,):
        threads = [threading.Thread(target=write, args=(service.address, writer)) for writer in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        service.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with services(1, TIMEBANK_DATA=data) as (again,):
        client = httpx.Client(base_url=again.address, headers=headers)
        with client:
            found: set[str] = set()
            after: str | None = ""
            while after is not None:
                page = client.get(
                    "/v1/communities", params={"after": after, "limit": 500, "min_position": max(acknowledged)}
                ).json()
                found |= {item["community"] for item in page["items"]}
                after = page["next"]
    assert set(acknowledged.values()) <= found
    replayed = answer("replay", TIMEBANK_DATA=data)
    assert (replayed["differences"], replayed["facts"]) == ([], replayed["position"])
    assert replayed["position"] >= max(acknowledged)
