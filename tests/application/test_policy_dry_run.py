"""A dry run shows what a policy would have done to a history, and nothing where it would have done the same."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import pytest

from application.policy_dry_run import AffectedRecord, DryRunReport, Effect, Setting, Sums, Uncovered, dry_run
from domain.account import (
    Account,
    CappedMinutesReturned,
    FundPool,
    GrantMinutes,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    fund_pool,
    grant_minutes,
)
from domain.decision import Actor, Context, Decision, Reading, drive, fold_facts
from domain.fact import Envelope, Fact, Recorded
from domain.hours import (
    ConfirmHours,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    ReverseHours,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
)
from domain.policy import Policy, PolicyAdopted
from domain.refusal import Refusal
from tests.controls import ADMIN, JINHU, LOGGER, NOW, XINZHU, ZONE, at, between, district

POOL = "pool:" + XINZHU
CHECKER = Actor("S2", "staff")


class Books:
    """The facts of a small district that were decided by the rules, as a store that can be read through."""

    def __init__(self, **settings: Any) -> None:
        self.recorded: list[Recorded[Any]] = []
        self.by_tag: dict[str, list[Fact]] = defaultdict(list)
        self.commands = 0
        self.record(*district(**settings))

    def record(self, *facts: Fact, actor: Actor = ADMIN, policy: int = 0, imported: bool = False) -> None:
        self.commands += 1
        for fact in facts:
            position = len(self.recorded) + 1
            envelope = Envelope(
                f"F{position}", actor.id, actor.role, f"{self.commands:032x}", "", policy, self.now, fact, imported
            )
            self.recorded.append(Recorded(position, position, envelope))
            for tag in fact.tags():
                self.by_tag[tag].append(fact)

    now = NOW

    def do(self, decide: Callable[[Any, Context], Decision], command: Any, actor: Actor = CHECKER) -> bool:
        """Whether the rules accepted the command."""
        try:
            decided = drive(decide(command, Context(actor, self.now, f"{self.commands + 1:032x}", ZONE)), self.state)
        except Refusal:
            return False
        self.record(*decided.facts, actor=actor, policy=decided.policy, imported=decide is import_hours)
        return True

    def must(self, decide: Callable[[Any, Context], Decision], command: Any, actor: Actor = CHECKER) -> None:
        assert self.do(decide, command, actor), command

    def state(self, reading: Reading[Any]) -> Any:
        return fold_facts(reading, self.by_tag[reading.tag])

    def scan(self) -> Iterator[list[Recorded[Any]]]:
        yield from ([recorded] for recorded in self.recorded)

    def under(self, since: date | None = None, until: date | None = None, **settings: Any) -> DryRunReport:
        return dry_run(self, Policy(**settings), ZONE, since, until)  # type: ignore[arg-type]

    def balance(self, account: str) -> int:
        return self.state(Account.of(account)).balance_minutes  # type: ignore[no-any-return]


def hours(record: str, span: str, volunteer: str = "V1", recipient: str | None = "H2", **named: Any) -> LogHours:
    started_at, ended_at = between(span)
    return LogHours(
        record=record,
        volunteer=volunteer,
        recipient_household=recipient,
        service="助餐",
        started_at=started_at,
        ended_at=ended_at,
        **named,
    )


def row(record: str, span: str, status: Any, confirmed_by: str | None = "S2", volunteer: str = "V4") -> ImportHours:
    started_at, ended_at = between(span)
    minutes = (ended_at - started_at) // timedelta(minutes=1)
    home = {"V4": "H3", "V9": "H9"}[volunteer]
    return ImportHours(
        *(record, volunteer, home, JINHU, "H1", XINZHU, (), "助洁", started_at, ended_at, minutes),
        *(confirmed_by, status),
    )


RULES = {"balance_minutes_max": 300}


@pytest.fixture
def books() -> Books:
    """V1 earns 445 minutes of service for H1 up to a cap of 300, and 60 that are reversed; V4 earns 60 for H3."""
    books = Books(**RULES)
    for command in (
        hours("R1", "11-20 09:00 - 09:20"),
        hours("R2", "11-20 10:00 - 14:00"),
        hours("R3", "11-20 15:00 - 17:05"),
        hours("R4", "11-10 09:00 - 10:00", recipient=None),
        hours("R5", "11-19 09:00 - 10:00"),
        hours("R6", "11-18 09:00 - 10:10"),
        hours("R7", "11-19 13:00 - 14:00", "V4", "H1"),
        hours("R8", "11-17 09:00 - 10:00"),
    ):
        books.must(log, command, LOGGER._replace(community=None))
    for number in (1, 2, 3, 4, 5, 7):
        books.must(confirm, ConfirmHours(record=f"R{number}"))
    books.must(reverse, ReverseHours(record="R5", reason="duplicate"))
    books.must(reject, RejectHours(record="R6", reason="not-served"))
    assert (books.balance("household:H1"), books.balance(POOL), books.balance("household:H3")) == (300, 145, 60)
    return books


def test_the_policy_in_force_makes_no_difference_to_its_own_history(books: Books) -> None:
    report = books.under(**RULES)
    assert (report.settings, report.effects, report.accounts, report.affected) == ([], [], [], [])
    assert (report.records, report.records_affected, report.volunteers_affected, report.households_affected) == (
        *(8, 0, 0),
        0,
    )
    assert report.total_before == report.total_after == Sums(505, 145, 0, 0, 360)
    assert (report.uncovered, report.not_decided_again, report.kept) == ({}, {}, {})
    assert report.position == report.facts == len(books.recorded)


@pytest.mark.parametrize(
    ("settings", "effects", "balance", "pool"),
    [
        # R1 (20 min) is gone; so 20 fewer of R3 are above the cap.
        ({"record_minutes_min": 30}, [("above-cap", 1, 85, 65), ("record-too-short", 1, 20, 0)], 300, 125),
        # R2 (240 min) is gone; 20 + 125 + 60 + 60 − 60 stay below the cap.
        ({"record_minutes_max": 180}, [("above-cap", 3, 205, 0), ("record-too-long", 1, 240, 0)], 205, 0),
        # 20 + 240 minutes fit into 300 a day, the 125 of R3 don't; then R4 lifts H1 to 320 and R5 to 380.
        ({"day_minutes_max": 300}, [("above-cap", 1, 60, 20), ("day-too-long", 1, 125, 0)], 300, 20),
        # R4 was logged 12 days later.
        ({"log_days_back_max": 11}, [("too-long-ago", 1, 60, 0)], 300, 85),
        # Quarter hours: R1 counts 15, R3 120, R6 60; 15 + 240 + 120 is 75 above the cap.
        (
            {"rounding_step_minutes": 15},
            [("rounded", 3, 215, 195), ("above-cap", 1, 85, 75)],
            300,
            135,
        ),
        # 20 + 240 stay; 85 of R3, then all of R4 and R5 are honours. R5's is undone with it.
        (
            {"above_balance_max": "honour"},
            [("above-cap", 3, 205, 0), ("honour", 3, 0, 205)],
            300,
            0,
        ),
        # R3, R4 and R5 would go above the cap and aren't confirmed.
        ({"above_balance_max": "refuse"}, [("record-above-cap", 3, 245, 0)], 260, 0),
        # H2, which R1, R2, R3 and R5 were for, has nothing; H1 pays R7 out of R4, which is for nobody.
        (
            {"payer": "recipient"},
            [("balance-too-low", 4, 445, 0), ("above-cap", 1, 60, 0), ("payer", 1, 60, 60)],
            0,
            0,
        ),
        ({"balance_minutes_max": None}, [("above-cap", 3, 205, 0)], 445, 0),
    ],
)
def test_every_kind_of_effect_is_told_with_its_records_and_minutes(
    books: Books, settings: dict[str, Any], effects: list[tuple[str, int, int, int]], balance: int, pool: int
) -> None:
    report = books.under(**RULES | settings)
    assert report.effects == [Effect(*effect) for effect in effects]
    after = {each.account: each.after.balance_minutes for each in report.accounts}
    assert after.get("household:H1", books.balance("household:H1")) == balance
    assert after.get(POOL, books.balance(POOL)) == pool
    assert report.settings == [
        Setting(name, (asdict(Policy()) | RULES)[name], value) for name, value in settings.items()
    ]
    assert report.total_before == Sums(505, 145, 0, 0, 360)
    assert (report.uncovered, report.not_decided_again, report.kept) == ({}, {}, {})


def test_each_affected_record_and_account_is_named_the_largest_changes_first(books: Books) -> None:
    report = books.under(**RULES | {"record_minutes_min": 70, "above_balance_max": "honour"})
    assert report.affected == [
        AffectedRecord("R3", "V1", "household:H1", date(2026, 11, 20), "above-cap", 85, 0),
        AffectedRecord("R3", "V1", "household:H1", date(2026, 11, 20), "honour", 0, 65),
        AffectedRecord("R4", "V1", "household:H1", date(2026, 11, 10), "record-too-short", 60, 0),
        AffectedRecord("R5", "V1", "household:H1", date(2026, 11, 19), "record-too-short", 60, 0),
        AffectedRecord("R7", "V4", "household:H3", date(2026, 11, 19), "record-too-short", 60, 0),
        AffectedRecord("R8", "V1", "household:H1", date(2026, 11, 17), "record-too-short", 60, 0),
        AffectedRecord("R1", "V1", "household:H1", date(2026, 11, 20), "record-too-short", 20, 0),
    ]
    assert (report.records_affected, report.volunteers_affected, report.households_affected) == (6, 2, 2)
    first, second, third = report.accounts
    assert (first.account, first.records, first.change_minutes) == ("household:H1", 5, 145)
    assert (second.account, second.records, second.change_minutes) == (POOL, 0, 145)
    assert (first.before, first.after) == (Sums(445, 145, 0, 0, 300), Sums(300, 0, 65, 0, 300))
    assert (third.account, third.before, third.after) == ("household:H3", Sums(60, 0, 0, 0, 60), Sums())
    assert (report.total_before, report.total_after) == (Sums(505, 145, 0, 0, 360), Sums(300, 0, 65, 0, 300))


def test_an_honour_is_undone_with_its_record(books: Books) -> None:
    report = books.under(balance_minutes_max=300, above_balance_max="honour")
    assert report.total_after == Sums(360, 0, 145, 0, 360)  # not the 60 of R5


@pytest.mark.parametrize(
    ("since", "until", "records"),
    [
        (None, None, ["R3", "R4", "R5", "R7", "R8", "R1"]),
        ("11-19", None, ["R3", "R5", "R7", "R1"]),
        (None, "11-17", ["R4", "R8"]),
        ("11-17", "11-19", ["R5", "R7", "R8"]),
        ("11-21", None, []),
    ],
)
def test_only_service_of_the_days_asked_for_is_held_to_the_policy(
    books: Books, since: str | None, until: str | None, records: list[str]
) -> None:
    days = [None if day is None else at(f"{day} 00:00").date() for day in (since, until)]
    report = books.under(*days, **RULES | {"record_minutes_min": 70})
    affected = [each.record for each in report.affected if each.code == "record-too-short"]
    assert sorted(affected) == sorted({*records} - {"R3"})


def test_before_and_after_the_days_asked_for_every_version_keeps_its_own() -> None:
    books = Books()
    books.record(PolicyAdopted(2, date(2026, 11, 15), Policy(record_minutes_min=60), "P1"))
    for number, day in enumerate((10, 16, 20)):
        books.must(log, hours(f"R{number}", f"11-{day} 09:00 - 10:00"))
    assert books.under(date(2026, 11, 15), record_minutes_min=60).affected == []
    assert [each.record for each in books.under(record_minutes_min=61).affected] == ["R0", "R1", "R2"]
    only = books.under(date(2026, 11, 12), date(2026, 11, 18), record_minutes_min=61)
    assert [each.record for each in only.affected] == ["R1"]
    assert only.settings == [Setting("record_minutes_min", 60, 61)]


def test_rows_of_older_books_are_decided_again_as_rows() -> None:
    books = Books()
    for command in (
        row("B1", "11-01 09:00 - 10:00", "confirmed"),
        row("B2", "11-02 09:00 - 10:00", "logged", None),
        row("B3", "11-03 09:00 - 10:00", "rejected"),
        row("B4", "11-04 09:00 - 10:00", "reversed"),
        row("B5", "05-05 09:00 - 10:00", "confirmed", volunteer="V9"),  # long ago, and of a new household
    ):
        books.must(import_hours, command)
    books.must(import_hours, row("B2", "11-02 09:00 - 10:00", "confirmed"))
    same = books.under()
    assert (same.records, same.affected, same.kept, same.not_decided_again) == (5, [], {}, {})
    late = books.under(log_days_back_max=0)
    assert late.affected == []
    short = books.under(record_minutes_min=61)
    # What the old books rejected or reversed earned nothing under any rule.
    assert sorted(each.record for each in short.affected) == ["B1", "B2", "B5"]
    assert short.total_after == Sums()


def test_a_sheet_is_decided_again_row_by_row() -> None:
    books = Books()
    sheet = LogManyHours(hours=(hours("R1", "11-20 09:00 - 09:20"), hours("R2", "11-20 10:00 - 11:00")))
    books.must(log_many, sheet, LOGGER)
    assert books.under().affected == []
    assert [each.record for each in books.under(record_minutes_min=30).affected] == ["R1"]


def test_what_is_not_decided_again_stands_and_is_counted_and_so_is_what_would_not_be_covered(books: Books) -> None:
    books.must(grant_minutes, GrantMinutes(household="H2", minutes=100, need="illness"))
    same = books.under(**RULES)
    assert (same.accounts, same.uncovered, same.not_decided_again) == ([], {}, {"minutes-granted.v1": 1})
    report = books.under(balance_minutes_max=None)  # so nothing was left to the pool
    assert report.uncovered == {"minutes-granted.v1": Uncovered(1, 100)}
    (pool,) = [each for each in report.accounts if each.account == POOL]
    assert (pool.before.balance_minutes, pool.after.balance_minutes) == (45, -100)


def test_hours_that_follow_from_other_rules_stand_as_they_happened(books: Books) -> None:
    books.record(HoursConfirmed("issuance", "household:H1", 60, "R8", "V1"))  # nobody confirms their own
    same, other = books.under(**RULES), books.under(**RULES | {"payer": "pool", "above_balance_max": "refuse"})
    assert (same.affected, same.accounts, same.kept) == ([], [], {"hours-confirmed.v1": 1})
    assert other.kept == {"hours-confirmed.v1": 1}
    assert "R8" not in {each.record for each in other.affected}
    assert other.total_after == Sums(60, 0, 0, 0, 60)


def test_a_reversal_by_other_rules_undoes_in_each_history_what_was_credited_there(books: Books) -> None:
    """R3 was credited 125 minutes, 85 of them above the cap; its reversal is recorded as `reverse` never would."""
    books.record(
        HoursReversed("household:H1", "issuance", 125, "R3", "S9", "other"),
        CappedMinutesReturned(POOL, "household:H1", 85, "R3"),
    )
    assert (books.under(**RULES).affected, books.under(**RULES).accounts) == ([], [])
    honour = books.under(**RULES | {"above_balance_max": "honour"})
    assert honour.kept == {"hours-reversed.v1": 1, "capped-minutes-returned.v1": 1}
    assert honour.total_after == Sums(320, 0, 60, 0, 320)  # R1, R2, R7; all of R4 is an honour
    refused = books.under(**RULES | {"above_balance_max": "refuse"})  # R3 was never confirmed
    assert refused.total_after == Sums(320, 0, 0, 0, 320)
    short = books.under(**RULES | {"record_minutes_min": 126})  # nor logged
    assert short.total_after == Sums(240, 0, 0, 0, 240)


def test_a_fact_that_no_decision_on_hours_makes_by_itself_stands(books: Books) -> None:
    books.record(MinutesCapped("household:H1", POOL, 10, "R3"))
    report = books.under(**RULES)
    assert (report.accounts, report.kept) == ([], {"minutes-capped.v1": 1})


LAX = {
    "record_minutes_min": 1,
    "record_minutes_max": 1440,
    "log_days_back_max": 400,
    "day_minutes_max": 1440,
    "balance_minutes_max": None,
}


@pytest.mark.parametrize("seed", range(40))
def test_the_supposed_history_is_what_the_same_commands_come_to_under_the_policy(seed: int) -> None:
    """Under rules that allow nearly everything there is a fact for each command, so both ways can be compared."""
    dice = Random(seed)  # noqa: S311 - reproducible
    settings = {
        "record_minutes_min": dice.choice([1, 30]),
        "record_minutes_max": dice.choice([60, 480]),
        "log_days_back_max": dice.choice([5, 30]),
        "day_minutes_max": dice.choice([90, 600]),
        "rounding": dice.choice(["down", "nearest", "up"]),
        "rounding_step_minutes": dice.choice([1, 15]),
        "payer": dice.choice(["recipient", "pool", "issuance"]),
        "payer_without_recipient": dice.choice(["pool", "issuance"]),
        "balance_minutes_min": dice.choice([0, -120]),
        "balance_minutes_max": dice.choice([None, 150]),
        "above_balance_max": dice.choice(["refuse", "pool", "honour"]),
    }
    lax, strict = Books(**LAX), Books(**settings)
    for number in range(80):
        decide, command, actor = something(dice, number)
        if lax.do(decide, command, actor):
            strict.do(decide, command, actor)
    report = lax.under(**settings)
    accounts = {"household:H1", "household:H2", "household:H3", POOL, "pool:" + JINHU}
    before = {each.account: each.before.balance_minutes for each in report.accounts}
    after = {each.account: each.after.balance_minutes for each in report.accounts}
    assert {name: before.get(name, lax.balance(name)) for name in accounts} == {
        name: lax.balance(name) for name in accounts
    }
    assert {name: after.get(name, lax.balance(name)) for name in accounts} == {
        name: strict.balance(name) for name in accounts
    }
    assert lax.under(**LAX).affected == strict.under(**settings).affected == []


def something(dice: Random, number: int) -> tuple[Any, Any, Actor]:
    record = f"R{dice.randint(max(0, number - 12), number)}"
    match dice.choices("lcrvf", (40, 45, 5, 12, 5))[0]:
        case "l":
            start: datetime = at("11-21 08:00") - timedelta(days=dice.randint(0, 9), minutes=-dice.randint(0, 600))
            command = LogHours(
                record=f"R{number}",
                volunteer=dice.choice(["V1", "V2", "V4"]),
                recipient_household=dice.choice([None, "H1", "H2", "H3"]),
                service="助餐",
                started_at=start,
                ended_at=start + timedelta(minutes=dice.randint(5, 150)),
            )
            return log, command, Actor("S1", "admin")
        case "c":
            return confirm, ConfirmHours(record=record), CHECKER
        case "r":
            return reject, RejectHours(record=record, reason="other"), CHECKER
        case "v":
            return reverse, ReverseHours(record=record, reason="other"), CHECKER
        case _:
            return fund_pool, FundPool(community=XINZHU, minutes=dice.randint(1, 200)), ADMIN
