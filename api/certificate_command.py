"""``timebank certificate`` and ``timebank recognition``: certificates issued, shown, verified, revoked and counted
again; and all that stands on a volunteer's record."""

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import psycopg
import typer
from rich.console import Console

from api.acting import caught_up, queried
from api.certificate import MEANINGS, issued_number, listed, prepared, publicised, shown, vault_key, verified
from api.certificate_file_command import file_, qr
from api.recognition import record_of
from api.terminal import Json, answer, day, fail, hours_of, progress
from api.wiring import Timebank, known, timebank
from application.certificate import recount
from application.write_loop import Ticket
from domain.certificate import (
    REASON_ZH,
    CertificateWanted,
    RevocationReason,
    RevokeCertificate,
    UnknownCertificate,
    issue_certificate,
    revoke_certificate,
)
from domain.decision import Actor
from domain.household import Person, UnknownMember
from domain.identifiers import normal_id, normal_name
from domain.ledger import SYNTHETIC_NOTICE
from domain.recognition import LEVEL_ZH, SUBJECT_ZH
from domain.recognition import REASON_ZH as WITHDRAWAL_ZH
from domain.refusal import Refusal
from infrastructure.settings import read_settings
from infrastructure.tokens import known_actors
from infrastructure.vault import forget, remember
from projections import certificate
from projections.certificate import CertificateListed

A = TypeVar("A")
Number = Annotated[str, typer.Argument(help="证明编号，如 2026-000001。 The certificate's number.")]
By = Annotated[
    str,
    typer.Option(
        help="经办人的人员编号，须有工作人员或管理员令牌。 The handler: a number with a staff or admin token."
    ),
]
STATUS_ZH = {"valid": "有效", "records-reversed": "不再完全有效", "revoked": "已撤销", "unknown": "查无此证明"}

certificate_app = typer.Typer(help="志愿服务证明：出具、显示、验证、撤销。 Service certificates.", no_args_is_help=True)
certificate_app.command("file")(file_)
certificate_app.command("qr")(qr)


@certificate_app.command("issue")
def issue(
    volunteer: Annotated[str, typer.Argument(help="志愿者编号。 The volunteer's number.")],
    by: By,
    in_charge: Annotated[str, typer.Option(help="负责人的人员编号。 The number of the person in charge.")],
    contact: Annotated[str, typer.Option(help="联系方式，不进账本。 The contact; kept apart from the journal.")],
    since: Annotated[str, typer.Option(help="起始日，如 2026-01-01。 First day of service.")],
    until: Annotated[str | None, typer.Option(help="截止日，默认今天。 Last day of service; today.")] = None,
    issuer: Annotated[
        str | None, typer.Option(help="出具单位，默认时间银行。 Who certifies; the time bank if left out.")
    ] = None,
    in_charge_name: Annotated[
        str | None, typer.Option(help="负责人姓名，不进账本。 Their name; kept apart from the journal.")
    ] = None,
    handler_name: Annotated[
        str | None, typer.Option(help="经办人姓名，不进账本。 The handler's name; kept apart from the journal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """出具一份志愿服务证明：这段时间内已确认且未冲正的全部服务；免费。

    Certify what a volunteer served in a period: all records that are confirmed and unreversed now. It is free.
    Nobody certifies themselves or their own household.
    """
    with caught_up() as bank:
        wanted = CertificateWanted.model_validate(
            {
                "volunteer": volunteer,
                "since": day(since),
                "until": day(until) or datetime.now(bank.zone).date(),
                "in_charge": in_charge,
                "issuer": issuer,
                "contact": contact,
                "in_charge_name": in_charge_name,
                "handler_name": handler_name,
            }
        )
        actor = _actor(bank, by)
        issuing, kept = prepared(bank, wanted)
        key = vault_key(issuing.code_sha256)
        with psycopg.connect(bank.address) as connection:
            remember(connection, bank.name, remarks={key: kept})
        try:
            (accepted,) = bank.run(Ticket(issue_certificate, issuing, actor, uuid4().hex))
        except Refusal:
            with psycopg.connect(bank.address) as connection:
                forget(connection, bank.name, [key])
            raise
        bank.catch_up()
        content = _one(bank, issued_number(accepted.facts))
    answer(content, as_json, lambda console: _show(console, content))


@certificate_app.command("show")
def show_certificate(number: Number, as_json: Json = False) -> None:
    """显示一份证明要打印的全部内容，含姓名、联系方式和验证码。 Show all that is printed on it, names included."""
    with caught_up() as bank:
        content = _one(bank, normal_id(number))
    answer(content, as_json, lambda console: _show(console, content))


@certificate_app.command("verify")
def verify(
    number: Number,
    code: Annotated[str, typer.Argument(help="证明上的验证码。 The verification code that is printed on it.")],
    as_json: Json = False,
) -> None:
    """按编号和验证码核对一份证明：有效、不再完全有效、已撤销或查无此证明。

    Verify a certificate by its number and code: valid, records reversed since, revoked, or unknown. Whatever isn't
    valid in full ends with exit status 1.
    """
    with caught_up() as bank:

        async def ask(connection: psycopg.AsyncConnection[Any]) -> dict[str, object]:
            return verified(bank, await certificate.certificate(connection, normal_id(number)), code)

        content: dict[str, Any] = queried(bank, ask)

    def show(console: Console) -> None:
        console.print(f"{STATUS_ZH[content['status']]}   {content['meaning']}")
        if "service_minutes" in content:
            _show_service(console, content)
        elif "revoked_on" in content:
            console.print(f"  {content['certificate']}   撤销于 revoked on {content['revoked_on']}")
        _notice(console, content)

    answer(content, as_json, show)
    if content["status"] != "valid":
        raise typer.Exit(1)


@certificate_app.command("revoke")
def revoke(
    number: Number,
    by: By,
    reason: Annotated[RevocationReason, typer.Option(help="原因。 Why.")],
    as_json: Json = False,
) -> None:
    """撤销一份证明：只能撤销一次，不能恢复；可以另行出具。 Revoke a certificate, for good; another may be issued."""
    with caught_up() as bank:
        command = RevokeCertificate(certificate=number, reason=reason)
        bank.run(Ticket(revoke_certificate, command, _actor(bank, by), uuid4().hex))
        bank.catch_up()
        content = _one(bank, command.certificate)
    answer(content, as_json, lambda console: _show(console, content))


@certificate_app.command("list")
def list_certificates(
    volunteer: Annotated[str | None, typer.Option(help="只看一名志愿者。 One volunteer's only.")] = None,
    community: Annotated[str | None, typer.Option(help="只看一个社区。 One community's only.")] = None,
    public: Annotated[bool, typer.Option("--public", help="只看公示期内的。 Those being publicised only.")] = False,
    as_json: Json = False,
) -> None:
    """列出已出具的证明及其状态；--public 是公示名单，不含个人信息。

    List certificates and where each stands; --public is the list that is publicised, without personal data.
    """
    with caught_up() as bank:
        asked: dict[str, Any] = {
            "volunteer": None if volunteer is None else normal_id(volunteer),
            "community": None if community is None else normal_name(community),
            "public_on": datetime.now(bank.zone).date() if public else None,
        }

        async def ask(connection: psycopg.AsyncConnection[Any]) -> list[CertificateListed]:
            found: list[CertificateListed] = []
            while rows := await certificate.certificates(
                connection, **asked, after=found[-1].sequence if found else 0, limit=1000
            ):
                found += rows
            return found

        rows = queried(bank, ask)
        synthetic = bank.opened.synthetic
    items = [publicised(row) if public else listed(row) for row in rows]

    def show(console: Console) -> None:
        for row in rows:
            who = "" if public else f"   {row.volunteer}   {row.since} – {row.until}"
            console.print(
                f"{row.certificate}   {row.issued_on}   {row.issuer}{who}   {hours_of(row.service_minutes)} 小时 h"
                f"   {STATUS_ZH[row.status]} {row.status}"
            )
        console.print(f"共 {len(rows):,} 份 certificates")
        if synthetic:
            console.print(SYNTHETIC_NOTICE)

    answer({"items": items, "synthetic": synthetic}, as_json, show)


@certificate_app.command("recount")
def recount_(as_json: Json = False) -> None:
    """从账本重新计算全部证明和星级，与其内容逐项核对；有任何不同则以非零状态结束。

    Count everything that certificates and stars say again from the journal; any difference is listed, and the exit
    status is 1.
    """
    with timebank(read_settings()) as bank:
        with progress("核对 Recounting", bank.store.head()) as told:
            counted = recount(bank.store, told)
        synthetic = bank.opened.synthetic
    content = {
        "position": counted.position,
        "certificates": counted.certificates,
        "stars": counted.stars,
        "differences": counted.differences,
        "synthetic": synthetic,
    }

    def show(console: Console) -> None:
        console.print(
            f"核对到位置 recounted to position {counted.position:,}: {counted.certificates:,} 份证明 certificates, "
            f"{counted.stars:,} 次星级变动 changes of stars"
        )
        for difference in counted.differences[:50]:
            console.print(f"  ✗ {difference.what}: {difference.replayed} ≠ {difference.projected}")
        if not counted.differences:
            console.print("  全部一致 all agree with the journal")
        if synthetic:
            console.print(SYNTHETIC_NOTICE)

    answer(content, as_json, show)
    if counted.differences:
        raise typer.Exit(1)


commands = typer.Typer()


@commands.command()
def recognition(
    volunteer: Annotated[str, typer.Argument(help="志愿者编号。 The volunteer's number.")], as_json: Json = False
) -> None:
    """一名志愿者的档案：服务时长、星级、荣誉、培训、表彰和证明。 A volunteer's record: hours, stars, honours."""
    number = normal_id(volunteer)
    with caught_up() as bank:
        person = known(bank.store, Person.of(number))
        if person.household is None and not (person.left or person.died):
            raise UnknownMember(number)

        async def ask(connection: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
            return await record_of(connection, number)

        notice = SYNTHETIC_NOTICE if bank.opened.synthetic else None
        content = {**queried(bank, ask), "notice": notice}
    answer(content, as_json, lambda console: _show_record(console, content))


def _one(bank: Timebank, number: str) -> dict[str, Any]:
    """Raises: UnknownCertificate."""

    async def ask(connection: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
        row = await certificate.certificate(connection, number)
        if row is None:
            raise UnknownCertificate(number)
        return await shown(connection, bank, row, private=True)

    return queried(bank, ask)


def _actor(bank: Timebank, person: str) -> Actor:
    """The member of staff as whom the command is given: as the service would know them by their token."""
    with psycopg.connect(bank.address) as connection:
        found = [a for a in known_actors(connection, bank.name, normal_id(person)) if a.role in ("staff", "admin")]
    if not found:
        fail(
            f"“{person}”没有工作人员或管理员的令牌，请先运行 timebank token add。 / "
            f"“{person}” has no token of staff or administrators; run `timebank token add` first."
        )
    return found[0]


def _show_service(console: Console, content: dict[str, Any]) -> None:
    console.print(
        f"  {content['certificate']}   {content['volunteer']}   {content['since']} – {content['until']}\n"
        f"  服务时长 service {hours_of(content['service_minutes'])} 小时 h"
        f"（{content['service_minutes']:,} 分钟 min，{content['service_records']:,} 条 records）"
    )
    for one in content["services"]:
        console.print(f"    {one['service']}   {hours_of(one['minutes'])} 小时 h   {one['records']:,} 条 records")
    if content.get("reversed_records"):
        console.print(
            f"  出具后冲正 reversed since {hours_of(content['reversed_minutes'])} 小时 h；"
            f"仍成立 still stand {hours_of(content['standing_minutes'])} 小时 h"
        )
    console.print(f"  出具 issued by {content['issuer']}   {content['issued_on']}")


def _show(console: Console, content: dict[str, Any]) -> None:
    console.print("志愿服务证明 Service certificate（免费 free）")
    _show_service(console, content)
    for label, name in (
        ("姓名 name", "volunteer_name"),
        ("负责人 in charge", "in_charge_name"),
        ("经办人 handler", "handler_name"),
        ("联系方式 contact", "contact"),
        ("验证码 verification code", "code"),
    ):
        number = content.get({"in_charge_name": "in_charge", "handler_name": "issued_by"}.get(name, ""), "")
        console.print(f"  {label}   {content[name] or '—'} {number}".rstrip())
    console.print(f"  公示至 publicised until {content['public_until']}")
    console.print(f"  {STATUS_ZH[content['status']]}   {MEANINGS[content['status']]}")
    if content["reason"]:
        console.print(f"  原因 reason   {REASON_ZH[content['reason']]} {content['reason']}")
    _notice(console, content)


def _show_record(console: Console, content: dict[str, Any]) -> None:
    console.print(
        f"{content['volunteer']}   服务 service {hours_of(content['service_minutes'])} 小时 h"
        f"（{content['service_records']:,} 条 records）   星级 star {content['star']}   "
        f"培训 training {hours_of(content['training_minutes'])} 小时 h"
    )
    words = {**LEVEL_ZH, **SUBJECT_ZH}
    for label, kind in (
        ("荣誉 honour", "honours"),
        ("培训 training", "trainings"),
        ("表彰 commendation", "commendations"),
    ):
        for one in content[kind]:
            detail = one.get("level") or one.get("subject") or one.get("organisation")
            parts = (label, one.get("title") or one.get("name"), words.get(detail, detail), one["recognition"])
            console.print("  " + "   ".join(filter(None, parts)) + _withdrawn(one))
    for star in content["stars"]:
        console.print(f"  星级 star   {star['star']}   {hours_of(star['service_minutes'])} 小时 h{_withdrawn(star)}")
    for one in content["certificates"]:
        console.print(f"  证明 certificate   {one['certificate']}   {STATUS_ZH[one['status']]} {one['status']}")
    _notice(console, content)


def _withdrawn(one: dict[str, Any]) -> str:
    if one["status"] == "stands":
        return ""
    return (
        f"   已撤销 withdrawn（{WITHDRAWAL_ZH.get(one['reason'], REASON_ZH.get(one['reason'], ''))} {one['reason']}）"
    )


def _notice(console: Console, content: dict[str, Any]) -> None:
    if content["notice"]:
        console.print(content["notice"])
