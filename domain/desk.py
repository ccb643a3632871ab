"""Desk entry from paper: one person keys a paper sheet, a second one keys it again, unseen (双人录入).

Where both keyed the same, with the same scan before them, its records are logged, by both of them: neither may confirm
them. Where they differ, the differences are told and nothing is logged until two people agree; either may key again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from domain.community import GridPath, require_scope
from domain.decision import Context, Decided, Decision, Fold, Reading, read, read_all, together
from domain.evidence import Sha256
from domain.fact import Fact
from domain.hours import MINUTE, Grounds, HoursLogged, LogHours, local, log
from domain.household import Person
from domain.identifiers import PlaceName, RecordId
from domain.refusal import AlreadyDone, NotAllowed


class PaperRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of a paper sheet as it was keyed."""

    volunteer: str
    service: str
    started_at: datetime
    ended_at: datetime
    claimed_minutes: int
    recipient_household: str | None = None
    community: str | None = None
    grid: GridPath = ()
    record: str | None = None


class KeyingDifference(msgspec.Struct, frozen=True, gc=False):
    """Where two keyings differ. ``row`` counts from 0; -1 is the paper as a whole."""

    row: int
    field: str
    earlier: str
    now: str


class PaperKeyed(Fact, frozen=True, omit_defaults=True, gc=False):
    """One person keyed a paper sheet; nothing is logged by it. ``differences`` are from what another person keyed last.

    ``sha256`` is of the scan.
    """

    type = "paper-keyed.v1"
    paper: str
    community: str
    sha256: str
    rows: tuple[PaperRow, ...]
    keyed_by: str
    differences: tuple[KeyingDifference, ...] = ()

    def tags(self) -> tuple[str, ...]:
        return ("paper:" + self.paper,)


class PaperAgreed(Fact, frozen=True, omit_defaults=True, gc=False):
    """A second person keyed the same: ``records`` were logged with this, in the order of the rows."""

    type = "paper-agreed.v1"
    paper: str
    community: str
    sha256: str
    keyed_by: str
    also_keyed_by: str
    records: tuple[str, ...]

    def tags(self) -> tuple[str, ...]:
        return ("paper:" + self.paper,)


PaperFact = PaperKeyed | PaperAgreed


class Paper(msgspec.Struct, frozen=True, gc=False):
    """What each person keyed last, oldest first; ``agreed`` once its records are logged."""

    paper: str
    keyings: tuple[PaperKeyed, ...] = ()
    agreed: bool = False

    @staticmethod
    def of(paper: str) -> "Reading[Paper]":
        return _fold.of(paper)


def _evolve(state: Paper, fact: PaperFact) -> Paper:
    match fact:
        case PaperKeyed():
            others = tuple(keyed for keyed in state.keyings if keyed.keyed_by != fact.keyed_by)
            return Paper(state.paper, (*others, fact))
        case PaperAgreed():
            return Paper(state.paper, state.keyings, agreed=True)


_fold = Fold[Paper]("paper", Paper, _evolve, (PaperKeyed, PaperAgreed))


class KeyPaper(BaseModel):
    """Key a paper sheet, as the first or the second person: all its lines in order, from the scan of that hash."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "paper": "P-2026-10-31-1",
                "community": "新竹社区",
                "sha256": "0" * 64,
                "rows": [LogHours.model_config["json_schema_extra"]["example"]],  # type: ignore[index]
            }
        },
    )

    paper: RecordId
    community: PlaceName
    sha256: Sha256
    rows: Annotated[tuple[LogHours, ...], Field(min_length=1, max_length=200)]


def key_paper(command: KeyPaper, context: Context) -> Decision:
    """Raises: OutsideCommunity, PaperNumberTaken, PaperAlreadyLogged, OwnHoursKeyed; RowsRefused, with the refusals of
    `log` by row, once two people agree."""
    actor = context.actor
    require_scope(context, command.community)
    paper, keyer = yield from read(Paper.of(command.paper), Person.of(actor.id))
    if paper.keyings and paper.keyings[0].community != command.community:
        raise PaperNumberTaken(command.paper)
    if paper.agreed:
        raise PaperAlreadyLogged(command.paper)
    for person in (yield from read_all(Person.of(row.volunteer) for row in command.rows)):
        if person.person == actor.id or (person.household is not None and person.household == keyer.household):
            raise OwnHoursKeyed(person.person)
    rows = tuple(_row(hours, context) for hours in command.rows)
    keyed = PaperKeyed(command.paper, command.community, command.sha256, rows, actor.id)
    others = [other for other in paper.keyings if other.keyed_by != actor.id]
    for other in others:
        if not any(_differences(other, keyed)):
            return (yield from _agreed(command, other, context))
    differences = tuple(_differences(others[-1], keyed)) if others else ()
    return Decided(0, (replace(keyed, differences=differences),))


def _agreed(command: KeyPaper, other: PaperKeyed, context: Context) -> Decision:
    rows = []
    for number, hours in enumerate(command.rows):
        # Two people agreed on the rows alone; why they come late is plain.
        placed = hours.model_copy(update={"community": hours.community or command.community, "late_reason": "on-paper"})
        numbered = replace(context, command_id=f"{context.command_id}-{number}")
        rows.append(partial(log, placed, numbered, Grounds("staff", also_logged_by=other.keyed_by)))
    decided = yield from together(rows)
    agreed = PaperAgreed(
        command.paper,
        command.community,
        command.sha256,
        context.actor.id,
        other.keyed_by,
        tuple(fact.record for fact in decided.facts if isinstance(fact, HoursLogged)),
    )
    return Decided(0, (agreed, *decided.facts), (0, *decided.policies))


def _row(hours: LogHours, context: Context) -> PaperRow:
    return PaperRow(
        hours.volunteer,
        hours.service,
        local(hours.started_at, context.zone),
        local(hours.ended_at, context.zone),
        hours.minutes or (hours.ended_at - hours.started_at) // MINUTE,
        hours.recipient_household,
        hours.community,
        hours.grid,
        hours.record,
    )


def _differences(earlier: PaperKeyed, now: PaperKeyed) -> Iterator[KeyingDifference]:
    if earlier.sha256 != now.sha256:
        yield KeyingDifference(-1, "sha256", earlier.sha256, now.sha256)
    if len(earlier.rows) != len(now.rows):
        yield KeyingDifference(-1, "rows", str(len(earlier.rows)), str(len(now.rows)))
    for number, (one, other) in enumerate(zip(earlier.rows, now.rows, strict=False)):
        for field in PaperRow.__struct_fields__:
            before, after = getattr(one, field), getattr(other, field)
            if before != after:
                yield KeyingDifference(number, field, _told(before), _told(after))


def _told(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat(timespec="minutes")
        case tuple():
            return "/".join(value)
        case _:
            return str(value)


@dataclass(unsafe_hash=True)
class PaperAlreadyLogged(AlreadyDone):
    paper: str
    zh = "纸质表“{paper}”已由两人核对一致并登记。"
    en = "The paper “{paper}” was keyed alike by two people and is logged already."


@dataclass(unsafe_hash=True)
class PaperNumberTaken(AlreadyDone):
    paper: str
    zh = "编号“{paper}”已用于另一张纸质表，请用新编号。"
    en = "The number “{paper}” is another paper's; use a new one."


@dataclass(unsafe_hash=True)
class OwnHoursKeyed(NotAllowed):
    volunteer: str
    zh = "纸质表上有本人或本户成员“{volunteer}”的服务，须由他人录入。"
    en = "The paper holds service of “{volunteer}”, who is the keyer or of their household; somebody else must key it."
