"""Errors of the command line as a person can act on them: one line on stderr each, in Chinese and English.

Here is everything that a command may raise, so this is imported only when one has.
"""

import contextlib
from collections.abc import Iterator
from typing import Final, NoReturn

import psycopg
from pydantic import ValidationError

from api import problems
from api.scenes import NoSampleHistory
from api.terminal import fail
from api.wiring import LedgerNotOpen
from application.bundle import BadBytes, BundleDirectoryInUse, NoSuchPeriod, NothingRecorded
from application.hours_file import HoursFileError
from application.hours_import import SyntheticFile
from application.replay import GapInJournal
from application.scenes import SceneInRealLedger
from domain.certificate_file import NoCertificateFile
from domain.checkpoint import NoCheckpoint, NoConsistency, NoReceipt
from domain.journal import Conflict, StoreUnavailable
from domain.leaf import LeafTooLong
from domain.refusal import Refusal
from infrastructure.codec import UnknownFactType, UnreadableFact
from infrastructure.cosignature import TooManyWitnesses
from infrastructure.embedded import DatabaseUnavailable, DiskFull, require_room
from infrastructure.log import LogDamaged
from infrastructure.notice import OutboxNotBegun
from infrastructure.projector import ProjectionsAreNewer, ProjectionsDamaged, RebuildRunning
from infrastructure.schema import SchemaError
from infrastructure.settings import BadSetting, read_settings
from infrastructure.signing import NotCosigned, NoteNotGenuine, OtherOrigin, SigningKeyExists, SigningKeyUnusable
from infrastructure.witness import KeptDamaged, LogUnreachable

EXPECTED: Final = (
    BadBytes,
    BadSetting,
    BundleDirectoryInUse,
    Conflict,
    DatabaseUnavailable,
    GapInJournal,
    HoursFileError,
    KeptDamaged,
    LedgerNotOpen,
    LeafTooLong,
    LogDamaged,
    LogUnreachable,
    NoCheckpoint,
    NoCertificateFile,
    NoConsistency,
    NoReceipt,
    NotCosigned,
    OutboxNotBegun,
    NoSampleHistory,
    NoSuchPeriod,
    NoteNotGenuine,
    OtherOrigin,
    NothingRecorded,
    ProjectionsAreNewer,
    ProjectionsDamaged,
    RebuildRunning,
    Refusal,
    SceneInRealLedger,
    SchemaError,
    SigningKeyExists,
    SigningKeyUnusable,
    StoreUnavailable,
    SyntheticFile,
    TooManyWitnesses,
    UnknownFactType,
    UnreadableFact,
)
"""Errors that say themselves, in Chinese and English, what happened and what to do."""


def tell(error: Exception) -> NoReturn:
    """End the program with one line on stderr, and exit status 1. Raises: ``error``, where nobody can mend it."""
    try:
        with _full_disk_named():
            raise error
    except EXPECTED as found:
        fail(str(found))
    except ValidationError as found:
        first = problems.validation_errors(found.errors())[0]
        fail(f"{first['field']}：{first['message_zh']}。 / {first['field']}: {first['message_en']}.")
    except psycopg.OperationalError as found:
        reason = " ".join(str(found).split())
        fail(f"无法连接数据库：{reason} / The database can't be reached: {reason}")
    except psycopg.errors.InsufficientPrivilege as found:
        reason = " ".join(str(found).split())
        fail(
            f"数据库用户权限不足：{reason}。若汇总表最初由另一数据库用户写成，"
            "请以该用户执行 DROP SCHEMA projection_… CASCADE，"
            f"之后会自动重新汇总。 / The database's user lacks a right: {reason}. If another user first folded the "
            "projections, have that user run DROP SCHEMA projection_… CASCADE; they are then folded anew."
        )
    except psycopg.Error as found:
        reason = " ".join(str(found).split())
        fail(f"数据库报错：{reason} / The database refused: {reason}")
    except OSError as found:
        fail(f"读写失败：{found} / Reading or writing failed: {found}")


@contextlib.contextmanager
def _full_disk_named() -> Iterator[None]:
    """Whatever a full disk makes fail, and however it says so, the disk is what a person has to see to."""
    try:
        yield
    except (StoreUnavailable, psycopg.OperationalError) as error:
        settings = read_settings()
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, psycopg.errors.DiskFull):
            cause = cause.__cause__
        if settings.database_url is None:
            if cause is None:
                # A server that can't add to its log just ends.
                require_room(settings.data)
            else:
                raise DiskFull(settings.data) from error
        elif cause is not None:
            raise DatabaseUnavailable(
                "数据库服务器的磁盘已满，请腾出空间后重试；已有数据未受影响。",
                "The disk of the database's server is full. Make room and try again; existing data is unharmed.",
            ) from error
        raise
