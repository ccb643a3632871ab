"""The database's schema: numbered SQL files, each applied once and recorded.

SchemaError
├── ServerTooOld       the PostgreSQL server is older than the oldest one tested
├── DatabaseIsNewer    a newer program has been here
├── MigrationChanged   an applied file is no longer the file that was applied
└── NotPermitted       the database's user lacks a right that the schema needs
"""

import hashlib
from importlib.resources import files
from typing import NamedTuple

import psycopg

from infrastructure import migrations

SERVICE_ROLE = "timebank_service"
SERVER_VERSION_MIN = 15
_MIGRATION_LOCK = 7_469_108_221  # any number, as long as nothing else in the database locks the same


class SchemaError(Exception):
    """The program and the database don't fit together; nothing has been changed."""


class ServerTooOld(SchemaError):
    def __init__(self, server_version: int) -> None:
        self.server_version = server_version
        super().__init__(
            f"数据库是 PostgreSQL {server_version}，本程序需要 {SERVER_VERSION_MIN} 或更高版本，请先升级数据库。"
            f" / The server is PostgreSQL {server_version}; {SERVER_VERSION_MIN} or later is needed:"
            " upgrade the server."
        )


class DatabaseIsNewer(SchemaError):
    def __init__(self, database_version: int, program_version: int) -> None:
        self.database_version = database_version
        self.program_version = program_version
        super().__init__(
            f"数据库结构版本为 {database_version}，本程序只认识到 {program_version}，"
            "请升级本程序后再启动；数据未作任何改动。"
            f" / The database has schema version {database_version}, this program knows up to {program_version}:"
            " upgrade the program, then start it again. No data was changed."
        )


class MigrationChanged(SchemaError):
    def __init__(self, version: int, name: str) -> None:
        self.version = version
        self.name = name
        super().__init__(
            f"数据库结构文件 {name} 在应用之后被改动，请恢复原文件，改动应写成新的编号文件；数据未作任何改动。"
            f" / The schema file {name} was changed after it had been applied: restore it, and make the change in a"
            " new numbered file. No data was changed."
        )


class NotPermitted(SchemaError):
    def __init__(self, user: str, reason: str) -> None:
        self.user = user
        super().__init__(
            f'数据库用户 {user} 权限不足（{reason}）。请由数据库管理员执行 GRANT CREATE ON SCHEMA public TO "{user}"，'
            "或改用创建这些表的用户；数据未作任何改动。"
            f" / The database user {user} lacks a right ({reason}): have an administrator run"
            f' GRANT CREATE ON SCHEMA public TO "{user}", or use the user who made the tables. No data was changed.'
        )


class Migration(NamedTuple):
    version: int
    name: str
    sql: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql).hexdigest()


def migrate(connection_string: str) -> int:
    """Bring the database up to this program's schema and return its version.

    Safe to call at every start, from several processes at once. A user who may create roles also creates the
    service's role, and the tables' owner grants it its rights. Raises a SchemaError if the two don't fit together.
    """
    known = known_migrations()
    with psycopg.connect(connection_string, autocommit=True) as connection:
        try:
            return _migrate(connection, known)
        except psycopg.errors.InsufficientPrivilege as error:
            (user,) = connection.execute("SELECT current_user::text").fetchall()[0]
            raise NotPermitted(user, error.diag.message_primary or "") from error


def _migrate(connection: psycopg.Connection, known: list[Migration]) -> int:
    # The functions look in public, so nothing may be made elsewhere.
    connection.execute("SET search_path = public, pg_temp")
    server_version = connection.info.server_version // 10_000
    if server_version < SERVER_VERSION_MIN:
        raise ServerTooOld(server_version)
    connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))  # released with the connection
    applied = _applied(connection)
    _refuse_if_unfit(known, applied)
    if not applied:
        _create_history(connection)
    for migration in known[len(applied) :]:
        with connection.transaction():
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
    _grant_rights(connection)
    return len(known)


def schema_version(connection_string: str) -> int:
    """The version that the database has; 0 for an empty one."""
    with psycopg.connect(connection_string, autocommit=True) as connection:
        return len(_applied(connection))


def known_migrations() -> list[Migration]:
    """This program's migrations; the version is the place in the list, counted from 1."""
    names = sorted(file.name for file in files(migrations).iterdir() if file.name[:4].isdecimal())
    known = [Migration(int(name[:4]), name, files(migrations).joinpath(name).read_bytes()) for name in names]
    if [migration.version for migration in known] != list(range(1, len(known) + 1)):
        raise SchemaError(f"数据库结构文件的编号不连续 / The schema files are not numbered in a row: {names}")
    return known


def _applied(connection: psycopg.Connection) -> list[tuple[int, str, str]]:
    exists = connection.execute("SELECT to_regclass('public.schema_migrations') IS NOT NULL").fetchone()
    if exists != (True,):
        return []
    return connection.execute("SELECT version, name, sha256 FROM public.schema_migrations ORDER BY version").fetchall()


def _refuse_if_unfit(known: list[Migration], applied: list[tuple[int, str, str]]) -> None:
    if len(applied) > len(known):
        raise DatabaseIsNewer(len(applied), len(known))
    for (version, name, sha256), migration in zip(applied, known, strict=False):
        if sha256 != migration.sha256:
            raise MigrationChanged(version, name)


def _create_history(connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        " version int PRIMARY KEY,"
        " name text NOT NULL,"
        " sha256 text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )


def _grant_rights(connection: psycopg.Connection) -> None:
    """Let the service's role do what rights.sql says, if this user may grant it and the role is there.

    Roles belong to the whole server, so another database may have made it before, or be making it now.
    """
    owner = connection.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'schema_migrations'::regclass"
    ).fetchone()
    if owner != (True,):
        return
    connection.execute(
        f"""
        DO $$ BEGIN
            IF to_regrole('{SERVICE_ROLE}') IS NULL THEN
                CREATE ROLE {SERVICE_ROLE} NOLOGIN;
            END IF;
        EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
            NULL;
        END $$
        """
    )
    if connection.execute("SELECT to_regrole(%s) IS NOT NULL", (SERVICE_ROLE,)).fetchone() == (True,):
        connection.execute(files(migrations).joinpath("rights.sql").read_bytes())
