"""``timebank request``: service requests on the command line, for staff at the desk of a community."""

from datetime import datetime
from typing import Annotated, Any, get_args

import msgspec
import typer
from rich.console import Console

from api.acting import Key, Token, actor_of, carry_out, caught_up, queried, show_written
from api.terminal import Json, answer, fail
from api.wiring import timebank
from domain.decision import Role
from domain.hours import HoursLogged, LateReason
from domain.identifiers import normal_id, normal_name
from domain.request import (
    NEEDS_ZH,
    STATUS_ZH,
    AcceptOffer,
    AskForService,
    CancelRequest,
    FulfilRequest,
    MakeOffer,
    RequestAsked,
    RescheduleRequest,
    UnknownRequest,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    fulfil,
    offer,
    reschedule,
    withdraw,
)
from infrastructure.settings import read_settings
from projections import request as projected
from projections.request import RequestRow

ROLES: tuple[Role, ...] = ("volunteer", "staff", "admin")
"""Who writes about requests over HTTP, too."""

request_app = typer.Typer(help="服务需求：提出、响应、约定、完成。 Service requests.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(help="需求编号。 The request's number.")]
Volunteer = Annotated[str, typer.Argument(help="志愿者编号。 The volunteer's number.")]
From = Annotated[str, typer.Option("--from", help="最早开始，如 2026-10-31T09:00。 The earliest start.")]
To = Annotated[str, typer.Option("--to", help="最晚结束，如 2026-10-31T12:00。 The latest end.")]


@request_app.command("list")
def list_(
    community: Annotated[str | None, typer.Option(help="只看一个社区。 One community only.")] = None,
    household: Annotated[str | None, typer.Option(help="只看一户。 One household only.")] = None,
    status: Annotated[
        str | None, typer.Option(help="open、accepted、fulfilled、cancelled 或 expired。 Where they stand.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="最多多少条。 How many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """列出服务需求，先提出的在前。 List service requests in the order in which they were asked."""
    if status is not None and status not in STATUS_ZH:
        fail(f"没有状态“{status}”，有： / There is no status “{status}”; there are: {', '.join(STATUS_ZH)}")
    with caught_up() as bank:
        rows = queried(
            bank,
            lambda connection: projected.requests(
                connection,
                community=None if community is None else normal_name(community),
                household=None if household is None else normal_id(household),
                status=status,
                limit=limit,
            ),
        )

    def show(console: Console) -> None:
        for row in rows:
            _show(console, row)
        if not rows:
            console.print("没有。 None.")

    answer(rows, as_json, show)


@request_app.command("show")
def show_request(number: Number, as_json: Json = False) -> None:
    """一条需求和对它的全部响应。 One request, and every offer for it."""
    number = normal_id(number)
    with caught_up() as bank:
        row = queried(bank, lambda connection: projected.request(connection, number))
        offers = queried(bank, lambda connection: projected.offers(connection, number))
    if row is None:
        raise UnknownRequest(number)

    def show(console: Console) -> None:
        _show(console, row)
        for made in offers:
            console.print(f"  响应 offer: {made.volunteer}   {made.status}")

    content: dict[str, Any] = msgspec.to_builtins(row)
    answer({**content, "offers": offers}, as_json, show)


def _show(console: Console, row: RequestRow) -> None:
    needs = " ".join(NEEDS_ZH.get(need, need) for need in row.needs.split())
    place = "/".join(filter(None, (row.community, row.grid)))
    console.print(
        f"{row.request}   {STATUS_ZH[row.status]} {row.status}   {row.household}   {row.service}   {place}\n"
        f"  {row.earliest_at} – {row.latest_at}   {row.estimated_minutes} 分钟 min   {needs}".rstrip()
    )
    if row.volunteer is not None:
        console.print(f"  约定 accepted: {row.volunteer}")


@request_app.command("ask")
def ask_(
    token: Token,
    household: Annotated[str, typer.Argument(help="提出需求的户。 The household that asks.")],
    service: Annotated[str, typer.Argument(help="服务项目，如 陪诊。 The service.")],
    earliest: From,
    latest: To,
    minutes: Annotated[int, typer.Option(help="预计分钟数。 The minutes that it will take.")],
    need: Annotated[list[str] | None, typer.Option(help=f"可写多次 repeatable: {', '.join(NEEDS_ZH)}。")] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """替一户提出服务需求。 Ask for a service for a household."""
    with timebank(read_settings()) as bank:
        times = {"earliest_at": _time(earliest, bank.zone), "latest_at": _time(latest, bank.zone)}
        command = AskForService.model_validate(
            {"household": household, "service": service, "estimated_minutes": minutes, "needs": need or [], **times}
        )
        accepted = carry_out(bank, actor_of(bank, token, ROLES), ask, command, key)
    asked = next(fact.request for fact in accepted.facts if isinstance(fact, RequestAsked))
    show_written(accepted, as_json, request=asked)


def _time(text: str, zone: Any) -> datetime:
    """A time of the ledger's zone, if it names none; ends the command where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"时间应写作 2026-10-31T09:00，不是“{text}”。 / A time is written 2026-10-31T09:00, not “{text}”.")
    return at if at.tzinfo is not None else at.replace(tzinfo=zone)


@request_app.command("offer")
def offer_(token: Token, number: Number, volunteer: Volunteer, key: Key = None, as_json: Json = False) -> None:
    """替志愿者响应一条需求。 Offer for a volunteer to do what is asked."""
    _carry_out(token, offer, MakeOffer(request=number, volunteer=volunteer), key, as_json)


@request_app.command("accept")
def accept_(token: Token, number: Number, volunteer: Volunteer, key: Key = None, as_json: Json = False) -> None:
    """接受一名志愿者的响应。 Accept one volunteer's offer."""
    _carry_out(token, accept, AcceptOffer(request=number, volunteer=volunteer), key, as_json)


@request_app.command("withdraw")
def withdraw_(token: Token, number: Number, volunteer: Volunteer, key: Key = None, as_json: Json = False) -> None:
    """替志愿者撤回响应，约定之后也可以。 Take a volunteer's offer back, even after it was accepted."""
    _carry_out(token, withdraw, WithdrawOffer(request=number, volunteer=volunteer), key, as_json)


@request_app.command("reschedule")
def reschedule_(
    token: Token, number: Number, earliest: From, latest: To, key: Key = None, as_json: Json = False
) -> None:
    """改期；已响应和已约定的志愿者都要重新响应。 Want it at another time; all who offered may offer again."""
    with timebank(read_settings()) as bank:
        command = RescheduleRequest(
            request=number, earliest_at=_time(earliest, bank.zone), latest_at=_time(latest, bank.zone)
        )
        accepted = carry_out(bank, actor_of(bank, token, ROLES), reschedule, command, key)
    show_written(accepted, as_json, request=number)


@request_app.command("done")
def done(
    token: Token,
    number: Number,
    started: Annotated[str, typer.Option("--from", help="开始，如 2026-10-31T09:00。 When it began.")],
    ended: Annotated[str, typer.Option("--to", help="结束，如 2026-10-31T10:30。 When it ended.")],
    late_reason: Annotated[
        str | None, typer.Option(help=f"为何补登 why it is logged late: {', '.join(get_args(LateReason))}。")
    ] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """登记为需求所做的服务，需求即告完成。 Log the hours that were given for a request; with that it is done."""
    with timebank(read_settings()) as bank:
        times = {"started_at": _time(started, bank.zone), "ended_at": _time(ended, bank.zone)}
        command = FulfilRequest.model_validate({"request": number, "late_reason": late_reason, **times})
        accepted = carry_out(bank, actor_of(bank, token, ROLES), fulfil, command, key)
    logged = next(fact.record for fact in accepted.facts if isinstance(fact, HoursLogged))
    show_written(accepted, as_json, request=number, record=logged)


@request_app.command("cancel")
def cancel_(token: Token, number: Number, key: Key = None, as_json: Json = False) -> None:
    """取消一条还没有完成的需求。 Take a request back that isn't done."""
    _carry_out(token, cancel, CancelRequest(request=number), key, as_json)


def _carry_out(token: str, decide: Any, command: Any, key: str | None, as_json: bool) -> None:
    with timebank(read_settings()) as bank:
        accepted = carry_out(bank, actor_of(bank, token, ROLES), decide, command, key)
    show_written(accepted, as_json, request=command.request)
