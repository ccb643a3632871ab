"""The command line. Answers go to stdout, as text or with --json as one document; everything else goes to stderr."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import msgspec
import psycopg
import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from api import board_command, community_command, disclosure_command, log_command, problems
from api.app import create_app
from api.audit_command import audit_app
from api.certificate_command import add_recognition_to, certificate_app
from api.due import run_due
from api.notice_command import notice_app
from api.policy_command import policy_app, preset_named
from api.protocol import ProblemProtocol
from api.replay import position_asked, replayed_and_compared
from api.request_command import request_app
from api.scenes import NoSampleHistory, play_scenes
from api.statement_command import statement_app
from api.terminal import Json, hours_of
from api.terminal import answer as _answer
from api.terminal import day as _day
from api.terminal import fail as _fail
from api.terminal import progress as _progress
from api.terminal import say as _say
from api.wiring import (
    LedgerNotOpen,
    Timebank,
    database,
    known,
    public_figures,
    spare_the_collector,
    timebank,
)
from api.witness_command import witness_app
from application.bundle import BadBytes, BundleDirectoryInUse, NoSuchPeriod, NothingRecorded
from application.hours_file import HoursFileError
from application.hours_import import HoursImport, ImportReport, SyntheticFile, import_in_turn
from application.replay import GapInJournal
from application.sample import write_sample
from application.sample_scenes import CANTEEN, STORIES, TO_COLLECT
from application.scenes import Played, SceneInRealLedger, redemption_code
from domain.account import household_account, pool_account
from domain.certificate_file import NoCertificateFile
from domain.checkpoint import NoCheckpoint, NoConsistency, NoReceipt
from domain.community import Community, UnknownCommunity
from domain.decision import Role
from domain.figures import Basis, Dimension
from domain.household import NotEnrolled, Person, UnknownHousehold
from domain.identifiers import Flaw, check_id, check_name, masked, normal_id, normal_name
from domain.journal import Conflict, StoreUnavailable
from domain.leaf import LeafTooLong
from domain.ledger import SYNTHETIC_NOTICE, OpenLedger
from domain.partner import Partner
from domain.policy import AdoptPolicy, Policy
from domain.presets import PRESETS
from domain.refusal import Refusal
from domain.statement import NoSigningKey
from infrastructure.codec import UnknownFactType, UnreadableFact
from infrastructure.cosignature import TooManyWitnesses
from infrastructure.embedded import DatabaseUnavailable, DiskFull, require_room
from infrastructure.log import LogDamaged
from infrastructure.notice import OutboxNotBegun
from infrastructure.projector import ProjectionsAreNewer, ProjectionsDamaged, RebuildRunning
from infrastructure.schema import SchemaError, known_migrations, schema_version
from infrastructure.settings import BadSetting, Settings, read_settings
from infrastructure.signing import (
    NotCosigned,
    NoteNotGenuine,
    OtherOrigin,
    SigningKey,
    SigningKeyExists,
    SigningKeyUnusable,
    create_key,
    key_path,
    read_key,
    rotate_key,
)
from infrastructure.tokens import IssuedToken, issue_token, revoke_tokens
from infrastructure.vault import remember
from infrastructure.witness import KeptDamaged, LogUnreachable
from projections.account import balance

DEMO_NAME: Final = "青秀区时间银行（合成示例 synthetic sample）"
BASES: Final[tuple[Basis, ...]] = ("recorded", "service")
DEMO_POLICY: Final = AdoptPolicy(effective_on=date(2022, 1, 1), policy=PRESETS["qingxiu"].policy)
DEMO_PEOPLE: Final[dict[Role, tuple[str, str | None]]] = {
    "volunteer": ("V00001", None),
    "staff": ("S0101", "新竹社区"),
    "auditor": ("A001", None),
    "admin": ("D001", None),
    "partner": (CANTEEN, None),
}
SHUTDOWN_SECONDS: Final = 10

app = typer.Typer(
    name="timebank",
    help="时间银行：志愿服务时间的账本。 The time bank: a ledger of volunteer time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="访问令牌：谁可以做什么。 Tokens: who may do what.", no_args_is_help=True)
database_app = typer.Typer(help="数据库与账本。 The database and the ledger.", no_args_is_help=True)
key_app = typer.Typer(help="账本的签名密钥。 The ledger's signing key.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(database_app, name="db")
app.add_typer(key_app, name="keys")
app.add_typer(policy_app, name="policy")
app.add_typer(certificate_app, name="certificate")
app.add_typer(request_app, name="request")
app.add_typer(statement_app, name="statement")
app.add_typer(notice_app, name="notices")
app.add_typer(witness_app, name="witness")
app.add_typer(audit_app, name="audit")
app.command("proof")(log_command.proof)
app.command("receipts")(log_command.receipts)
app.command("consistency")(log_command.consistency)
app.command("verify")(log_command.verify)

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


def main() -> None:
    """Run the command line; every error that a person can mend is one line on stderr, and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding must not stop a Chinese word
            stream.reconfigure(errors="replace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    spare_the_collector()
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        # Boxes are for people to look at: whoever reads a log or pipes an answer gets plain lines.
        app.rich_markup_mode = None
    # Being told to end is no reason to leave anything running: unwind as Ctrl-C does.
    signal.signal(signal.SIGTERM, _leave)
    try:
        with _full_disk_named():
            app()
    except EXPECTED as error:
        _fail(str(error))
    except ValidationError as error:
        first = problems.validation_errors(error.errors())[0]
        _fail(f"{first['field']}：{first['message_zh']}。 / {first['field']}: {first['message_en']}.")
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        _fail(f"无法连接数据库：{reason} / The database can't be reached: {reason}")
    except psycopg.errors.InsufficientPrivilege as error:
        reason = " ".join(str(error).split())
        _fail(
            f"数据库用户权限不足：{reason}。若汇总表最初由另一数据库用户写成，"
            "请以该用户执行 DROP SCHEMA projection_… CASCADE，"
            f"之后会自动重新汇总。 / The database's user lacks a right: {reason}. If another user first folded the "
            "projections, have that user run DROP SCHEMA projection_… CASCADE; they are then folded anew."
        )
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        _fail(f"数据库报错：{reason} / The database refused: {reason}")
    except OSError as error:
        _fail(f"读写失败：{error} / Reading or writing failed: {error}")


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


def _leave(signal_number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signal_number)


# ── The demo and the service ─────────────────────────────────────────────────────────────────────────────────────


@app.command()
def demo(
    households_served: Annotated[int, typer.Option(min=1, help="被服务的户数。 Households served.")] = 1898,
    hours: Annotated[int, typer.Option(min=1, help="服务总小时。 Hours of service.")] = 430_000,
    seed: Annotated[int, typer.Option(help="随机种子。 Seed of the synthetic district.")] = 7,
    serve_it: Annotated[bool, typer.Option("--serve/--no-serve", help="启动服务。 Serve the API.")] = True,
) -> None:
    """生成并导入合成示例区，显示数字，启动服务。 Make and import a synthetic district, show its figures, serve it.

    第二次运行直接使用已有数据。 A second run starts on the data already there.
    """
    settings = read_settings()
    if serve_it:
        _require_free_port(settings)
    opening = OpenLedger(name=DEMO_NAME, synthetic=True)
    with timebank(settings, opening, DEMO_POLICY) as bank:
        if not bank.opened.synthetic:
            _fail(
                f"账本“{bank.name}”是真实账本，示例不会写入；请另设 TIMEBANK_DATA 或 TIMEBANK_LEDGER。 / "
                f"The ledger “{bank.name}” is a real one and stays untouched; "
                "set another TIMEBANK_DATA or TIMEBANK_LEDGER."
            )
        arguments = {"households_served": households_served, "hours": hours, "seed": seed}
        _import_sample(bank, settings.data / "sample", **arguments)
        _catch_up(bank)
        _play_scenes_once(bank, settings.data / "sample" / "played.json", arguments)
        _figures(bank, False, None, "service", None, 1)
        _print_demo_tokens(bank, seed)
    if serve_it:
        # Serve from a fresh program: an import of years of records leaves a process larger than a service needs.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, sys.argv[0], "serve"])  # noqa: S606 - this very program


def _import_sample(bank: Timebank, directory: Path, households_served: int, hours: int, seed: int) -> None:
    """Write and import the sample, unless all of it is in the ledger: what a killed run left out is added."""
    arguments = {"households_served": households_served, "hours": hours, "seed": seed}
    done, what_is_done = directory / "imported.json", json.dumps({**arguments, "ledger": bank.name})
    if done.exists() and done.read_text(errors="replace") == what_is_done and bank.store.head() > 2:
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    with _progress("生成合成数据 Writing the synthetic district", None) as told:
        try:
            summary = write_sample(directory, **arguments, progress=lambda now, _: told(now))
        except (ValueError, FileExistsError) as error:
            _fail(str(error))
    files = [HoursImport(bank.store, bank.zone, directory / name, ledger_is_synthetic=True) for name in summary.files]

    def recorded(file: HoursImport, report: ImportReport) -> None:
        if report.rows_refused:
            _fail(f"示例有 {report.rows_refused} 行被拒绝 / {report.rows_refused} rows of the sample were refused")
        _keep_in_vault(bank, file)
        _say(f"已导入 Imported {report.file}")

    rows_estimate = sum(file.file.rows_estimate for file in files)
    with _progress(f"导入 Importing {len(files)} 个文件 files", rows_estimate) as told:
        import_in_turn(files, recorded, progress=told)
    done.write_text(what_is_done)


def _catch_up(bank: Timebank) -> None:
    """Fold what was imported, so that it is seen, and so that the next import's balances are recalled from it."""
    with contextlib.closing(bank.projector()) as projector:
        head = bank.store.head()
        with _progress("汇总 Folding the figures", head) as told:
            projector.prepare(told)
            projector.catch_up(told)


def _play_scenes_once(bank: Timebank, done: Path, arguments: dict[str, int]) -> None:
    """Play the scenes, unless this program has played them all before: finding their cast takes a second or two."""
    scenes = [story.__name__ for story in STORIES]
    what_is_done = json.dumps({**arguments, "ledger": bank.name, "opened": bank.opened.name, "scenes": scenes})
    if done.exists() and done.read_text(errors="replace") == what_is_done and bank.store.head() > 2:
        return
    done.unlink(missing_ok=True)
    _play_scenes(bank, arguments["seed"])
    done.write_text(what_is_done)


def _play_scenes(bank: Timebank, seed: int) -> Played:
    """Play the scenes, and say on stderr which of them the rules refused; a demo goes on without those."""
    _say("情景 Scenes…")
    played = play_scenes(bank, DEMO_PEOPLE["volunteer"][0], DEMO_POLICY, datetime.now(UTC), seed)
    for scene, refusal in played.refused:
        _say(f"  {scene}：{refusal}")
    _catch_up(bank)
    return played


def _print_demo_tokens(bank: Timebank, seed: int) -> None:
    typer.echo("示例令牌，每个角色一个（重新运行即换新） Demo tokens, one a role (made anew each time):")
    with psycopg.connect(bank.address) as connection:
        for role, (person, community) in DEMO_PEOPLE.items():
            if role == "partner" and known(bank.store, Partner.of(person)).registered is None:
                continue  # its scene was refused
            revoke_tokens(connection, bank.name, person)
            issued = new_token(bank, connection, person, role, community)
            typer.echo(f"  {role:<10} {issued.token}   {person} {community or ''}".rstrip())
    typer.echo(
        f"待领取 To collect: {DEMO_PEOPLE['volunteer'][0]} {TO_COLLECT}，"
        f"兑换码 code {redemption_code(seed, TO_COLLECT)} → {CANTEEN}"
    )
    typer.echo()


@app.command()
def serve() -> None:
    """启动服务（API 与说明页），直到 Ctrl-C。 Serve the API and its documentation until Ctrl-C."""
    settings = read_settings()
    _require_free_port(settings)
    with timebank(settings) as bank:
        # Before the server, which would tell of whatever stops it with a traceback.
        _catch_up(bank)
        _serve(bank)


def _serve(bank: Timebank) -> None:
    settings = bank.settings
    # Two threads share this process: the writer must not wait 5 ms for its turn each time it has heard from the disk.
    sys.setswitchinterval(0.001)
    config = uvicorn.Config(
        create_app(bank),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=ProblemProtocol,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    address = f"http://{_place(settings)}"
    _say(f"服务已启动，按 Ctrl-C 停止： / Serving; stop with Ctrl-C:\n  {address}/docs\n  {address}/v1/figures")
    # uvicorn stops in good order on a signal, and then raises it once more for whoever started it.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
    _say("服务已停止。 / Stopped.")


def _require_free_port(settings: Settings) -> None:
    place = _place(settings)
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise BadSetting("TIMEBANK_HOST", settings.host) from error
    except OSError as error:
        _fail(
            f"无法使用端口 {place}（{error.strerror}），请设置其他端口，如 PORT=8001。 / "
            f"The port {place} can't be used ({error.strerror}); choose another, such as PORT=8001."
        )


def _place(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


# ── Files in ─────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="写入的目录。 Where to write.")],
    households_served: Annotated[int, typer.Option(min=1, help="被服务的户数。 Households served.")] = 1898,
    hours: Annotated[int, typer.Option(min=1, help="服务总小时。 Hours of service.")] = 430_000,
    seed: Annotated[int, typer.Option(help="随机种子，相同则文件相同。 Same seed, same files.")] = 7,
    as_json: Json = False,
) -> None:
    """生成合成示例区的服务记录文件。 Write the files of a synthetic district (no real person in them)."""
    try:
        with _progress("生成合成数据 Writing the synthetic district", None) as told:
            summary = write_sample(
                directory,
                households_served=households_served,
                hours=hours,
                seed=seed,
                progress=lambda done, _: told(done),
            )
    except (ValueError, FileExistsError) as error:
        _fail(str(error))

    def show(console: Console) -> None:
        console.print(f"合成数据，没有真实的人。 Synthetic data; no real person is in it. → {directory}")
        for name in summary.files:
            console.print(f"  {directory / name}")
        console.print(
            f"  {summary.records:,} 条记录 records, {hours_of(summary.service_minutes)} 小时 hours, "
            f"{summary.households_served:,} 户被服务 households served"
        )

    _answer(summary, as_json, show)


@app.command()
def sample_scenes(
    seed: Annotated[int, typer.Option(help="随机种子：兑换码、门码由它而来。 Codes come from it.")] = 7,
    as_json: Json = False,
) -> None:
    """在已导入示例区的合成账本里演出各种情景。 Play scenes in a synthetic ledger that holds the sample district.

    需求、签到、争议、兑换、拨付、户与社区的变动，都按规则决定；再次运行不会重复，中断后可继续。
    Requests, visits, disputes, rewards, grants, and households and places that change, all decided by the rules.
    Running it again adds nothing, and completes what a killed run left out.
    """
    with timebank(read_settings()) as bank:
        _catch_up(bank)
        played = _play_scenes(bank, seed)
    answered = {
        "recorded": played.recorded,
        "repeated": played.repeated,
        "refused": [{"scene": scene, "reason": str(refusal)} for scene, refusal in played.refused],
    }
    _answer(
        answered,
        as_json,
        lambda console: console.print(
            f"情景 scenes: {played.recorded} 步已记录 steps recorded, {played.repeated} 步先前已有 there before, "
            f"{len(played.refused)} 个被规则拒绝 refused"
        ),
    )


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV 或 XLSX 文件。 A CSV or XLSX file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只检查，不写入。 Check every row and write nothing.")
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="写入合格的行，其余另存。 Record the good rows; save the refused ones."),
    ] = False,
    as_json: Json = False,
) -> None:
    """导入服务记录文件：默认整个文件全部写入或全部不写。 Import a file of service records: all of it, or nothing.

    被拒绝的行逐行列出（行号、列、原因）；--skip-bad 时另存为 FILE.refused.csv 供更正后再导入。
    Refused rows are listed (row, column, reason); --skip-bad saves them as FILE.refused.csv, to be corrected.
    同一文件再次导入不会重复。 Importing the same file again adds nothing.
    """
    with timebank(read_settings()) as bank:
        hours_import = HoursImport(bank.store, bank.zone, file, ledger_is_synthetic=bank.opened.synthetic)
        refused_path = file.with_name(file.stem + ".refused.csv") if skip_bad else None
        with _progress(f"检查 Checking {file.name}", hours_import.file.rows_estimate) as told:
            report = hours_import.run(dry_run=dry_run, skip_bad=skip_bad, refused_path=refused_path, progress=told)
        if not dry_run:
            _keep_in_vault(bank, hours_import)
            _catch_up(bank)
    _answer(report, as_json, lambda console: _show_import(console, report))
    if report.rows_refused and not skip_bad:
        raise typer.Exit(1)


def _keep_in_vault(bank: Timebank, hours_import: HoursImport) -> None:
    with psycopg.connect(bank.address) as connection:
        remember(connection, bank.name, names=hours_import.names, remarks=hours_import.remarks)


def _show_import(console: Console, report: ImportReport) -> None:
    shown = 50
    if report.problems:
        table = Table(title="被拒绝的行 Refused rows", box=None)
        for heading in ("行 row", "列 field", "内容 value", "原因 reason"):
            table.add_column(heading, overflow="fold")
        for problem in report.problems[:shown]:
            table.add_row(str(problem.row), problem.field, problem.value, f"{problem.reason_zh} {problem.reason_en}")
        console.print(table)
        if len(report.problems) > shown:
            console.print(f"… 还有 {len(report.problems) - shown} 个问题 more problems")
    outcome = "只检查，未写入 checked only, nothing written" if report.dry_run else "已写入 recorded"
    if report.rows_refused and not report.dry_run and report.position is None:
        outcome = "全部未写入 nothing was recorded"
    console.print(
        f"{report.file}: {report.rows:,} 行 rows; {report.rows_imported:,} 新 new, "
        f"{report.rows_already_there:,} 已有 already there, {report.rows_refused:,} 被拒绝 refused — {outcome}"
    )
    console.print(
        f"已确认且未冲正 confirmed and unreversed: {report.service_records:,} 条 records, "
        f"{hours_of(report.service_minutes)} 小时 hours; {report.facts:,} 个事实 facts"
    )
    for kind, ignored in (("列 columns", report.ignored_columns), ("工作表 sheets", report.ignored_sheets)):
        if ignored:
            console.print(f"没有读取的{kind} not read: {'、'.join(ignored)}")
    if report.refused_file:
        console.print(f"被拒绝的行另存于 Refused rows are saved in: {report.refused_file}")


# ── Answers out ──────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def figures(
    as_of: Annotated[
        str | None, typer.Option(help="截至哪一天（YYYY-MM-DD），默认今天。 Up to and including this day; today.")
    ] = None,
    basis: Annotated[
        Basis,
        typer.Option(
            help="service：按服务日期；recorded：按当时账本。 By day of service, or as the books stood then.",
        ),
    ] = "service",
    by: Annotated[
        Dimension | None,
        typer.Option(
            help="再按社区、网格、服务或月份分列。 Also by this dimension.",
        ),
    ] = None,
    level: Annotated[int, typer.Option(min=1, max=3, help="网格层级：1 基础、2 元、3 楼栋。 Grid level.")] = 1,
    as_json: Json = False,
) -> None:
    """公开数字：服务户数、服务时长，总计或分列，截至任何一天。 The public figures, as of any day."""
    with timebank(read_settings()) as bank:
        with contextlib.closing(bank.projector()) as projector:
            projector.prepare()
            projector.catch_up()
        _figures(bank, as_json, _day(as_of), basis, by, level)


def _figures(bank: Timebank, as_json: bool, as_of: date | None, basis: Basis, by: Dimension | None, level: int) -> None:
    with bank.reading() as connection:
        day = as_of or datetime.now(bank.zone).date()
        found = public_figures(bank, connection, as_of=day, basis=basis, by=by, level=level)

    def show(console: Console) -> None:
        console.print(f"\n{found['ledger']}   截至 as of {found['as_of']}，账本位置 position {found['position']:,}")
        if found["notice"]:
            console.print(found["notice"])
        console.print(
            f"  服务户数 households served   {found['households_served']:>12,}\n"
            f"  服务时长 hours of service    {hours_of(found['service_minutes']):>12}"
            f"   ({found['service_minutes']:,} 分钟 minutes)\n"
            f"  服务记录 service records     {found['service_records']:>12,}"
        )
        for meaning in found["definitions"].values():
            console.print(f"  · {meaning}")
        if found["cells"]:
            table = Table(box=None)
            table.add_column(str(found["by"]))
            for heading in ("户 households", "小时 hours", "记录 records"):
                table.add_column(heading, justify="right")
            for cell in found["cells"]:
                table.add_row(
                    cell["key"],
                    f"{cell['households_served']:,}",
                    hours_of(cell["service_minutes"]),
                    f"{cell['service_records']:,}",
                )
            console.print(table)
        console.print()

    _answer(found, as_json, show)


@app.command(name="balance")
def show_balance(
    household: Annotated[str, typer.Argument(help="户编号，如 H00001。 A household's number.")] = "",
    pool: Annotated[str | None, typer.Option(help="改查社区的公共时间池。 A community's pool instead.")] = None,
    as_json: Json = False,
) -> None:
    """查询一户（或一个社区时间池）的余额。 The balance of a household, or of a community's pool."""
    if bool(household) == (pool is not None):
        raise typer.BadParameter("请给出户编号，或 --pool 社区。 Give a household's number, or --pool COMMUNITY.")
    with timebank(read_settings()) as bank:
        with contextlib.closing(bank.projector()) as projector:
            projector.prepare()
            projector.catch_up()
        name = household_account(_household(household)) if pool is None else pool_account(_community(pool))
        with bank.reading() as connection:
            row = balance(connection, name)
    if row is None:
        raise UnknownHousehold(household) if pool is None else UnknownCommunity(pool)

    def show(console: Console) -> None:
        console.print(f"{row.account}   {row.community or ''} {row.grid}".rstrip())
        for label, minutes in (
            ("余额 balance", row.balance_minutes),
            ("存入 earned", row.earned_minutes),
            ("支出 spent", row.spent_minutes),
            ("获拨 granted", row.granted_minutes),
            ("超限转出 capped", row.capped_minutes),
            ("转入 received", row.received_minutes),
            ("转出 given", row.given_minutes),
            ("冻结 held", row.held_minutes),
        ):
            console.print(f"  {label:<18}{minutes:>12,} 分钟 min   {hours_of(minutes):>10} 小时 h")
        if bank.opened.synthetic:
            console.print(SYNTHETIC_NOTICE)

    _answer({**msgspec.to_builtins(row), "synthetic": bank.opened.synthetic}, as_json, show)


@app.command()
def due(as_json: Json = False) -> None:
    """办理到期的事项，如到期的预留与争议。 Do what has fallen due: reservations that expire, disputes that escalate.

    服务运行时每分钟自动办理。 A running service does it by itself every minute.
    """
    with timebank(read_settings()) as bank:
        with contextlib.closing(bank.projector()) as projector:
            projector.prepare()
            projector.catch_up()
        report = run_due(bank, datetime.now(UTC))

    def show(console: Console) -> None:
        for kind, done in report.done.items():
            console.print(f"{kind:<24}{done:>8,} 已办理 done {report.refused[kind]:>8,} 不再适用 no longer due")

    _answer(report._asdict(), as_json, show)


@app.command(name="replay")
def replay_(
    to: Annotated[int | None, typer.Option(min=0, help="重放到这个位置。 Replay up to this position.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="重放到这一时刻，如 2026-10-31T18:00:00+08:00；只写日期则到当天结束。 "
            "Replay up to this time, or to the end of a day."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """从第一条事实起重算全部余额和数字，并与汇总表逐行核对；有任何差异则以非零状态结束。

    Count all balances and figures again from the first fact, and compare them with the projections, up to the head
    with every row of them; any difference is listed, and the exit status is 1.
    """
    with timebank(read_settings()) as bank:
        position, counted_again, found = replayed_and_compared(bank, position_asked(bank, to, as_of))
    replayed = counted_again.counted()
    total_minutes = counted_again.total_minutes
    content = {
        "position": position,
        "synthetic": bank.opened.synthetic,
        "facts": counted_again.facts,
        "movements": counted_again.movements,
        "total_minutes": total_minutes,
        "conserved": total_minutes == 0,
        "figures": replayed.figures,
        "differences": found,
        "balances": replayed.balances,
    }

    def show(console: Console) -> None:
        held = sum(minutes for name, minutes in replayed.balances.items() if name.startswith("household:"))
        pooled = sum(minutes for name, minutes in replayed.balances.items() if name.startswith("pool:"))
        issued = -replayed.balances.get("issuance", 0)
        console.print(f"重放到位置 replayed to position {position:,}: {counted_again.facts:,} 个事实 facts")
        if bank.opened.synthetic:
            console.print(SYNTHETIC_NOTICE)
        console.print(
            f"  发行 issued {issued:,} = 各户 held {held:,} + 时间池 pooled {pooled:,}（分钟 minutes）\n"
            f"  所有账户合计 all accounts sum to {total_minutes}\n"
            f"  服务户数 households served {replayed.figures.households_served:,}；服务时长 hours "
            f"{hours_of(replayed.figures.service_minutes)}；记录 records {replayed.figures.service_records:,}"
        )
        if found:
            for difference in found[:50]:
                console.print(f"  ✗ {difference.what}: {difference.replayed} ≠ {difference.projected}")
            console.print(f"与汇总表有 {len(found)} 处不同 {len(found)} differences from the projections")
        else:
            agreeing = f"{len(replayed.balances):,} 个账户和全部数字与汇总表一致"
            console.print(f"  {agreeing} accounts and all figures agree with the projections")

    _answer(content, as_json, show)
    if found or total_minutes:
        raise typer.Exit(1)


# ── Running an installation ──────────────────────────────────────────────────────────────────────────────────────


@app.command()
def rebuild(as_json: Json = False) -> None:
    """从账本重建全部汇总表；服务可照常运行。 Fold all projections anew, while the service runs."""
    with (
        timebank(read_settings()) as bank,
        contextlib.closing(bank.projector()) as projector,
        _progress("重建汇总表 Rebuilding", bank.store.head()) as told,
    ):
        position = projector.rebuild(told)
    _answer(
        {"position": position},
        as_json,
        lambda console: console.print(f"已重建到位置 rebuilt up to position {position:,}"),
    )


@token_app.command("add")
def add_token(
    role: Annotated[Role, typer.Option(help="角色。 The role.")],
    person: Annotated[
        str, typer.Option(help="人员编号（志愿者用其志愿者编号）。 The person's number (a volunteer's own number).")
    ],
    community: Annotated[
        str | None, typer.Option(help="工作人员只能处理这个社区；省略则为全区。 Bounds staff to one community.")
    ] = None,
    as_json: Json = False,
) -> None:
    """发一个令牌；只显示这一次，系统只存其哈希值。 Make a token: shown this once, stored as a hash only.

    令牌只写到标准输出，请妥善转交本人。 Hand it to its person only.
    """
    person = _person(person)
    if role != "staff" and community is not None:
        raise typer.BadParameter("--community 只用于 staff。 --community is for staff only.")
    with timebank(read_settings()) as bank, psycopg.connect(bank.address) as connection:
        issued = new_token(bank, connection, person, role, community)
    community = issued.actor.community
    content = {"token": issued.token, "person": person, "role": role, "community": community}
    _answer(content, as_json, lambda console: console.print(issued.token, soft_wrap=True))


def new_token(
    bank: Timebank, connection: psycopg.Connection[Any], person: str, role: Role, community: str | None
) -> IssuedToken:
    """A token for somebody whom the ledger has room for: staff of a community that is registered, a volunteer who is
    enrolled, a registered partner's counter. Staff, auditors and administrators need not be members.

    Raises: UnknownCommunity, NotEnrolled, UnknownPartner.
    """
    if community is not None:
        community = _community(community)
        known(bank.store, Community.of(community)).require()
    if role == "volunteer" and not known(bank.store, Person.of(person)).volunteer:
        raise NotEnrolled(person)
    if role == "partner":
        known(bank.store, Partner.of(person)).require()
    return issue_token(connection, bank.name, person, role, community)


def _person(text: str) -> str:
    """A person's number as the ledger has it; ends the command where it can be none."""
    return _fit("人员编号", "person's number", number := normal_id(text), check_id(number))


def _household(text: str) -> str:
    """A household's number as the ledger has it; ends the command where it can be none."""
    return _fit("户编号", "household's number", number := normal_id(text), check_id(number))


def _community(text: str) -> str:
    """A community's name as the ledger has it; ends the command where it can be none."""
    return _fit("社区名称", "community's name", name := normal_name(text), check_name(name))


def _fit(zh: str, en: str, text: str, flaw: Flaw | None) -> str:
    if flaw is not None:
        _fail(f"{zh}“{masked(text)}”{flaw.zh}。 / The {en} {flaw}.")
    return text


@token_app.command("revoke")
def revoke_token(
    person: Annotated[str, typer.Option(help="人员编号。 The person's number.")], as_json: Json = False
) -> None:
    """停用一个人的全部令牌（最多 5 秒后生效）。 Revoke all tokens of a person (within 5 seconds)."""
    person = _person(person)
    with timebank(read_settings()) as bank, psycopg.connect(bank.address) as connection:
        revoked = revoke_tokens(connection, bank.name, person)
    _answer(
        {"person": person, "revoked": revoked},
        as_json,
        lambda console: console.print(f"已停用 revoked: {revoked}"),
    )


@key_app.command("init")
def init_key(as_json: Json = False) -> None:
    """生成账本的签名密钥，每个账本一次；文件在数据目录的 keys 下。 Make the ledger's signing key, once a ledger.

    请另存一份在安全的地方：它不在数据库里，也不在数据库的备份里。 Keep a copy in a safe place: it is in no database.
    """
    settings = read_settings()
    _show_key(create_key(settings.data, settings.ledger), settings, as_json)


@key_app.command("show")
def show_key(as_json: Json = False) -> None:
    """显示账本的公钥，供其他账本核对。 Show the ledger's public key, for other ledgers to trust."""
    settings = read_settings()
    key = read_key(settings.data, settings.ledger)
    if key is None:
        raise NoSigningKey(settings.ledger)
    _show_key(key, settings, as_json)


@key_app.command("rotate")
def rotate_signing_key(as_json: Json = False) -> None:
    """更换签名密钥：旧密钥为新密钥签名后即销毁；服务不必重启。 Replace the key, which first signs the new one.

    请把新文件另存一份；信任旧公钥的人凭签名的交接说明即可信任新公钥。 Keep a copy of the new file, too.
    """
    settings = read_settings()
    key = rotate_key(settings.data, settings.ledger, datetime.now(UTC))
    if key is None:
        raise NoSigningKey(settings.ledger)
    _show_key(key, settings, as_json)


def _show_key(key: SigningKey, settings: Settings, as_json: bool) -> None:
    content = {
        "ledger": settings.ledger,
        "key": str(key.verifier),
        "file": str(key_path(settings.data, settings.ledger)),
    }
    _answer(content, as_json, lambda console: console.print(content["key"], soft_wrap=True))


@database_app.command("open")
def open_database(
    name: Annotated[str, typer.Option(help="时间银行的名称。 The time bank's name.")],
    policy_from: Annotated[
        str, typer.Option(help="首版规则的生效日，早于最早的历史记录。 First day of the first policy.")
    ],
    zone: Annotated[str, typer.Option(help="时区。 Time zone.")] = "Asia/Shanghai",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="只放合成数据。 For synthetic data only.")] = False,
    preset: Annotated[str | None, typer.Option(help="以一地的规则为首版。 Another place's rules as the first.")] = None,
    as_json: Json = False,
) -> None:
    """开立账本并采用首版规则。 Open the ledger and adopt the first policy.

    再次运行不会改变已开立的账本。 Running it again changes nothing.
    """
    day = _day(policy_from)
    if day is None:
        raise typer.BadParameter("--policy-from")
    opening = OpenLedger(name=name, zone=zone, synthetic=synthetic)
    policy = Policy() if preset is None else preset_named(preset).policy
    with timebank(read_settings(), opening, AdoptPolicy(effective_on=day, policy=policy)) as bank:
        content = {"ledger": bank.name, "name": bank.opened.name, "position": bank.store.head()}
    _answer(content, as_json, lambda console: console.print(f"账本已开立 open: {content['name']}"))


@database_app.command("status")
def database_status(as_json: Json = False) -> None:
    """数据库版本与账本位置。 The database's version and the ledger's position."""
    settings = read_settings()
    with database(settings) as address, psycopg.connect(address) as connection:
        ledgers = connection.execute("SELECT ledger, head FROM ledgers ORDER BY ledger").fetchall()
        server = connection.execute("SHOW server_version").fetchall()[0][0]
        content = {
            "server_version": server,
            "schema_version": schema_version(address),
            "schema_version_of_program": len(known_migrations()),
            "embedded": settings.database_url is None,
            "ledgers": dict(ledgers),
        }

    def show(console: Console) -> None:
        for key, value in content.items():
            console.print(f"{key}: {value}")

    _answer(content, as_json, show)


board_command.add_to(app, _answer)
add_recognition_to(app)
community_command.add_to(app)
disclosure_command.add_to(app)
