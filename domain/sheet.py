"""Group service: one sheet holds a service that many volunteers gave together, and logs their records all at once.

Every row keeps the rules of `log`, and one row against them keeps the whole sheet out. Hours that were given as a group
are the group's own to donate where the policy says so; the sheet then names the group.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Self

import msgspec
from msgspec.structs import replace
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.community import GridPath, require_scope
from domain.decision import Context, Decided, Decision, Fold, Reading, read, read_all, together
from domain.evidence import Sha256
from domain.fact import Fact
from domain.group import Group, UnknownGroup
from domain.hours import Grounds, HoursLogged, LateReason, LogHours, local, log
from domain.household import NotEnrolled, Person, UnknownMember
from domain.identifiers import HouseholdId, PersonId, PlaceName, RecordId, ServiceName, new_number
from domain.refusal import AlreadyDone, NotAllowed


class SheetLogged(Fact, frozen=True, omit_defaults=True, gc=False):
    """A sheet was logged whole: ``records`` are its rows, in their order. ``sha256`` is of the scanned paper."""

    type = "sheet-logged.v1"
    sheet: str
    community: str
    service: str
    started_at: datetime
    ended_at: datetime
    leader: str
    logged_by: str
    records: tuple[str, ...]
    grid: GridPath = ()
    recipient_household: str | None = None
    group: str | None = None
    sha256: str | None = None

    def tags(self) -> tuple[str, ...]:
        return ("sheet:" + self.sheet,)


class Sheet(msgspec.Struct, frozen=True, gc=False):
    """``logged`` is None while there is no such sheet."""

    sheet: str
    logged: SheetLogged | None = None

    @staticmethod
    def of(sheet: str) -> "Reading[Sheet]":
        return _fold.of(sheet)


def _evolve(state: Sheet, fact: SheetLogged) -> Sheet:
    return Sheet(state.sheet, fact)


_fold = Fold[Sheet]("sheet", Sheet, _evolve, (SheetLogged,))


class SheetRow(BaseModel):
    """One volunteer on a sheet. Times and minutes are given where they differ from the sheet's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: PersonId
    record: RecordId | None = None
    started_at: Annotated[AwareDatetime | None, Field(description="Where they came late.")] = None
    ended_at: Annotated[AwareDatetime | None, Field(description="Where they left early.")] = None
    minutes: Annotated[int, Field(strict=True, ge=1, le=1440, description="Less where there was a break.")] | None = (
        None
    )


class LogSheet(BaseModel):
    """Log a service that many volunteers gave together: all of them, or none."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "community": "新竹社区",
                "service": "社区清洁",
                "leader": "V00001",
                "started_at": "2026-10-31T09:00:00+08:00",
                "ended_at": "2026-10-31T11:00:00+08:00",
                "rows": [
                    {"volunteer": "V00001"},
                    {"volunteer": "V00002", "ended_at": "2026-10-31T10:30:00+08:00"},
                ],
            }
        },
    )

    sheet: RecordId | None = None
    community: PlaceName
    grid: Annotated[tuple[PlaceName, ...], Field(max_length=3)] = ()
    recipient_household: HouseholdId | None = None
    service: ServiceName
    started_at: AwareDatetime
    ended_at: AwareDatetime
    leader: PersonId
    group: RecordId | None = None
    sha256: Sha256 | None = None
    late_reason: LateReason | None = None
    rows: Annotated[tuple[SheetRow, ...], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            for row in (SheetRow(volunteer=self.leader), *self.rows):
                self.hours(row)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        if any(row.started_at is not None and row.started_at < self.started_at for row in self.rows) or any(
            row.ended_at is not None and row.ended_at > self.ended_at for row in self.rows
        ):
            raise ValueError("各行的时间须在整张表的起止时间之内 / the times of a row must lie within the sheet's")
        return self

    def hours(self, row: SheetRow) -> LogHours:
        """One row as hours to be logged."""
        return LogHours(
            record=row.record,
            volunteer=row.volunteer,
            recipient_household=self.recipient_household,
            community=self.community,
            grid=self.grid,
            service=self.service,
            started_at=row.started_at or self.started_at,
            ended_at=row.ended_at or self.ended_at,
            minutes=row.minutes,
            late_reason=self.late_reason,
        )


def log_sheet(command: LogSheet, context: Context) -> Decision:
    """Staff who took the sheet give its records the grade ``checked-in``, though not their own household's; what a
    leader logs has the grade ``self``.

    Raises: OutsideCommunity, SheetAlreadyLogged, NotTheLeader, UnknownMember and NotEnrolled (the leader),
    UnknownGroup; RowsRefused, with the refusals of `log` by row.
    """
    actor = context.actor
    sheet_id = command.sheet or new_number(context.command_id)
    if actor.role == "volunteer" and actor.id != command.leader:
        raise NotTheLeader(command.leader)
    if actor.role != "volunteer":
        require_scope(context, command.community)
    sheet, leader, keeper = yield from read(Sheet.of(sheet_id), Person.of(command.leader), Person.of(actor.id))
    if sheet.logged is not None:
        raise SheetAlreadyLogged(sheet_id)
    if leader.household is None and (actor.role == "volunteer" or actor.id != command.leader):
        raise UnknownMember(command.leader)
    if actor.role == "volunteer" and not leader.volunteer:
        raise NotEnrolled(command.leader)
    if command.group is not None:
        group = yield from read(Group.of(command.group))
        if group.community is None:
            raise UnknownGroup(command.group)
    people = yield from read_all(Person.of(row.volunteer) for row in command.rows)
    rows = []
    for number, (row, person) in enumerate(zip(command.rows, people, strict=True)):
        own = person.person == actor.id or person.household == keeper.household
        grounds = Grounds("self" if own or actor.role == "volunteer" else "checked-in", command.group, for_others=True)
        numbered = replace(context, command_id=f"{context.command_id}-{number}")
        rows.append(partial(log, command.hours(row), numbered, grounds))
    decided = yield from together(rows)
    logged = SheetLogged(
        sheet_id,
        command.community,
        command.service,
        local(command.started_at, context.zone),
        local(command.ended_at, context.zone),
        command.leader,
        actor.id,
        tuple(fact.record for fact in decided.facts if isinstance(fact, HoursLogged)),
        command.grid,
        command.recipient_household,
        command.group,
        command.sha256,
    )
    return Decided(0, (logged, *decided.facts), (0, *decided.policies))


@dataclass(unsafe_hash=True)
class SheetAlreadyLogged(AlreadyDone):
    sheet: str
    zh = "签到表“{sheet}”已经登记，另一张表请用新编号。"
    en = "The sheet “{sheet}” is logged already; another one needs a number of its own."


@dataclass(unsafe_hash=True)
class NotTheLeader(NotAllowed):
    leader: str
    zh = "签到表由领队“{leader}”或工作人员登记。"
    en = "A sheet is logged by its leader “{leader}”, or by staff."
