"""Group service: one sheet, many volunteers, all of them or none."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import HoursConfirmed, HoursReversed
from domain.community import OutsideCommunity
from domain.decision import Actor, RowsRefused
from domain.group import UnknownGroup
from domain.hours import (
    ConfirmedByOwnHousehold,
    ConfirmHours,
    LateWithoutReason,
    RecordTooShort,
    ReverseHours,
    confirm,
    reverse,
)
from domain.household import MemberRegistered, NotEnrolled, UnknownMember, VolunteerEnrolled
from domain.sheet import LogSheet, NotTheLeader, SheetAlreadyLogged, SheetRow, log_sheet
from tests.controls import (
    DISTRICT,
    GRID,
    GROUP_REGISTERED,
    HOURS_LOGGED,
    JINHU,
    SHEET_LOGGED,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    at,
    credited,
    district,
    given,
    logged,
    volunteer,
)


def sheet(*rows: SheetRow, **changes: Any) -> LogSheet:
    asked = {
        "sheet": "SH1",
        "community": XINZHU,
        "grid": GRID,
        "recipient_household": "H2",
        "service": "助洁",
        "leader": "V1",
        "started_at": at("11-18 14:00"),
        "ended_at": at("11-18 16:00"),
        "rows": rows or (SheetRow(volunteer="V1", record="R8"), SheetRow(volunteer="V4", record="R9")),
    }
    return LogSheet.model_validate(asked | changes)


def row(record: str, span: str = "11-18 14:00 - 16:00", **changes: Any) -> Any:
    return logged(record, span, **{"service": "助洁", "logged_by": "S2", "evidence": "checked-in"} | changes)


def test_one_sheet_logs_a_record_for_everybody_on_it() -> None:
    command = sheet(group="G1", sha256="ef" * 32)
    given(DISTRICT).when(log_sheet, command).refused(UnknownGroup("G1"))
    given(DISTRICT, GROUP_REGISTERED).when(log_sheet, command).then(
        SHEET_LOGGED,
        row("R8", group="G1"),
        row("R9", group="G1", volunteer="V4", household="H3"),
    )


def test_its_records_and_the_sheet_itself_are_decided_under_the_rules_they_need() -> None:
    decided = given(DISTRICT).when(log_sheet, sheet()).decided
    assert decided is not None
    assert [policy for policy, _ in decided.each()] == [0, 1, 1]


def test_whoever_came_late_left_early_or_had_a_break_has_minutes_of_their_own() -> None:
    command = sheet(
        SheetRow(volunteer="V1", record="R8", ended_at=at("11-18 15:00")),
        SheetRow(volunteer="V4", record="R9", started_at=at("11-18 14:30"), minutes=70),
    )
    _, first, second = given(DISTRICT).when(log_sheet, command).accepted
    assert first == row("R8", "11-18 14:00 - 15:00")
    assert second == row(
        "R9", "11-18 14:30 - 16:00", volunteer="V4", household="H3", claimed_minutes=70, service_minutes=70
    )


def test_a_sheet_that_comes_late_has_one_reason_for_all_of_it() -> None:
    facts = district(late_after_days=1, late_needs_reason=True)
    refused = LateWithoutReason("2026-11-18", 1)
    given(facts).when(log_sheet, sheet()).refused(RowsRefused(((0, refused), (1, refused))))
    _, *records = given(facts).when(log_sheet, sheet(late_reason="no-network")).accepted
    assert [record.late_reason for record in records] == ["no-network"] * 2  # type: ignore[attr-defined]


def test_one_row_against_the_rules_keeps_the_whole_sheet_out() -> None:
    command = sheet(
        SheetRow(volunteer="V1", ended_at=at("11-18 14:10")),
        SheetRow(volunteer="V4"),
        SheetRow(volunteer="V9"),
    )
    given(DISTRICT).when(log_sheet, command).refused(
        RowsRefused(((0, RecordTooShort(10, 15)), (2, UnknownMember("V9"))))
    )


def test_records_without_a_number_get_one() -> None:
    command = sheet(SheetRow(volunteer="V1"), SheetRow(volunteer="V4"), sheet=None)
    logged_sheet, *records = given(DISTRICT).when(log_sheet, command).accepted
    number = "01234567-89abcdef-01234567-89abcdef"
    assert logged_sheet.sheet == number  # type: ignore[attr-defined]
    assert [record.record for record in records] == [number + "-0", number + "-1"]  # type: ignore[attr-defined]


def test_the_leader_logs_a_sheet_on_their_word() -> None:
    _, *records = given(DISTRICT).when(log_sheet, sheet(), actor=volunteer("V1")).accepted
    assert records == [
        row("R8", logged_by="V1", evidence="self"),
        row("R9", logged_by="V1", evidence="self", volunteer="V4", household="H3"),
    ]


def test_staff_on_their_own_sheet_get_no_more_than_their_word() -> None:
    keeper = Actor("V2", "staff", XINZHU)
    _, *records = given(DISTRICT).when(log_sheet, sheet(), actor=keeper).accepted
    assert [record.evidence for record in records] == ["self", "checked-in"]  # type: ignore[attr-defined]


def test_nobody_else_logs_it() -> None:
    given(DISTRICT).when(log_sheet, sheet(), actor=volunteer("V4")).refused(NotTheLeader("V1"))
    given(DISTRICT).when(log_sheet, sheet(), actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    given(DISTRICT).when(log_sheet, sheet(leader="V9")).refused(UnknownMember("V9"))
    given(DISTRICT).when(log_sheet, sheet(leader="V3"), actor=volunteer("V3")).refused(NotEnrolled("V3"))


def test_staff_may_lead_it_themselves() -> None:
    assert given(DISTRICT).when(log_sheet, sheet(leader="S2")).accepted


def test_a_sheet_is_logged_once() -> None:
    given(DISTRICT, SHEET_LOGGED).when(log_sheet, sheet()).refused(SheetAlreadyLogged("SH1"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ended_at": at("11-18 14:00")}, "ended_at must be after"),
        ({"started_at": at("11-18 14:00").replace(second=1)}, "whole minutes"),
        ({"rows": [{"volunteer": "V1", "ended_at": at("11-18 16:01")}]}, "within the sheet"),
        ({"rows": [{"volunteer": "V1", "started_at": at("11-18 13:59")}]}, "within the sheet"),
        ({"rows": [{"volunteer": "V1", "minutes": 121}]}, "must fit between"),
        ({"started_at": "0001-01-01T00:00:00+08:00", "rows": [{"volunteer": "V1"}]}, "1900"),
        ({"sha256": "EF" * 32}, "pattern"),
    ],
)
def test_a_sheet_that_makes_no_sense_is_not_taken(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as invalid:
        sheet(**changes)
    assert "validation error for LogHours" not in str(invalid.value)


# ── Hours of a group ─────────────────────────────────────────────────────────────────────────────────────────

GROUPS = replace(HOURS_LOGGED, group="G1")


def test_hours_of_a_group_are_its_own_to_donate() -> None:
    confirmed = given(DISTRICT, GROUPS).when(confirm, ConfirmHours(record="R1"))
    confirmed.then(HoursConfirmed("issuance", "group:G1", 90, "R1", "S2"))
    past = given(DISTRICT, GROUPS, *confirmed.accepted)
    past.when(reverse, ReverseHours(record="R1", reason="duplicate")).then(
        HoursReversed("group:G1", "issuance", 90, "R1", "S2", "duplicate")
    )


def test_the_cap_of_households_is_none_of_a_groups() -> None:
    full = (district(balance_minutes_max=100), credited("H1", 100), GROUPS)
    given(*full).when(confirm, ConfirmHours(record="R1")).then(HoursConfirmed("issuance", "group:G1", 90, "R1", "S2"))


def test_where_the_policy_says_so_each_household_earns() -> None:
    given(district(group_hours="household"), GROUPS).when(confirm, ConfirmHours(record="R1")).then(
        HoursConfirmed("issuance", "household:H1", 90, "R1", "S2")
    )


def test_a_group_changes_nothing_in_who_may_confirm() -> None:
    kin = (MemberRegistered("S5", "H1"), VolunteerEnrolled("S5"))
    given(DISTRICT, kin, GROUPS).when(confirm, ConfirmHours(record="R1"), actor=STAFF._replace(id="S5")).refused(
        ConfirmedByOwnHousehold("R1", "H1")
    )
