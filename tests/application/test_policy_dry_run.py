"""A dry run shows what a policy would have done to a history, and nothing where it would have done the same."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from application.policy_dry_run import (
    EPOCH,
    AffectedDecision,
    AffectedRecord,
    DryRunReport,
    Effect,
    Setting,
    Sums,
    Uncovered,
    dry_run,
)
from domain.account import (
    Account,
    CappedMinutesReturned,
    FundPool,
    GrantMinutes,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesDonated,
    fund_pool,
    grant_minutes,
)
from domain.decision import Actor, Context, Decision, Reading, drive, fold_facts
from domain.dispute import EscalateDispute, OpenDispute, escalate_dispute, open_dispute
from domain.expiry import AnnounceExpiry, ExpireMinutes, announce_expiry, expire_minutes
from domain.fact import Envelope, Fact, Recorded
from domain.grant import (
    ApproveGrant,
    GrantStartingMinutes,
    ProposeGrant,
    approve_grant,
    grant_starting_minutes,
    propose_grant,
)
from domain.hours import (
    ConfirmHours,
    ImportHours,
    LogHours,
    LogManyHours,
    RejectHours,
    ReverseHours,
    SettleSilence,
    confirm,
    import_hours,
    log,
    log_many,
    reject,
    reverse,
    settle_silence,
)
from domain.household_life import CloseHousehold, MergeHouseholds, close_household, merge_households
from domain.opening import (
    ApproveOpeningBalance,
    ProposeOpeningBalance,
    approve_opening_balance,
    propose_opening_balance,
)
from domain.policy import Policy, PolicyAdopted
from domain.redemption import CollectReward, ReserveReward, code_sha256, collect, reserve
from domain.refusal import Refusal
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    FulfilRequest,
    MakeOffer,
    accept,
    ask,
    cancel,
    fulfil,
    offer,
)
from domain.transfer import DonateMinutes, TransferMinutes, donate, transfer
from domain.visit import CheckIn, CheckOut, MarkOverdue, check_in, check_out, mark_overdue
from tests.controls import (
    ADMIN,
    CODE,
    JINHU,
    LOGGER,
    NOW,
    PARTNER_REGISTERED,
    REWARD_OFFERED,
    TIME,
    XINZHU,
    ZONE,
    at,
    between,
    credited,
    district,
    volunteer,
)

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
            self.recorded.append(Recorded(position, self.microseconds, envelope))
            for tag in fact.tags():
                self.by_tag[tag].append(fact)

    now = NOW
    microseconds = 0
    """When everything is recorded, since 1970."""

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
    books.must(merge_households, MergeHouseholds(household="H1", into="H2"), ADMIN)
    books.must(donate, DonateMinutes(household="H2", minutes=100), ADMIN)
    books.record(MinutesDonated("household:H2", POOL, 100, "S9"), policy=1)  # as `donate` never would
    same = books.under(**RULES)
    assert (same.accounts, same.uncovered, same.not_decided_again) == ([], {}, {"minutes-donated.v1": 1})
    report = books.under(**RULES | {"record_minutes_min": 126})  # so H1 had 240 minutes to go over, and not 300
    assert report.uncovered == {"balance-carried.v1": Uncovered(1, 60)}
    (home,) = [each for each in report.accounts if each.account == "household:H1"]
    assert (home.before.balance_minutes, home.after.balance_minutes) == (0, -60)


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
    "transfer": "anyone",
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
        "transfer": dice.choice(["nobody", "anyone"]),
        "transfer_minutes_month_max": dice.choice([None, 60]),
        "grant_minutes_alone_max": dice.choice([None, 50]),
        "request_hold": dice.choice([False, True]),
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
    same, other = lax.under(**LAX), strict.under(**settings)
    for report in (same, other):
        assert (report.affected, report.affected_decisions, report.accounts, report.kept) == ([], [], [], {})
        assert report.not_decided_again == {}


def something(dice: Random, number: int) -> tuple[Any, Any, Actor]:
    record = f"R{dice.randint(max(0, number - 12), number)}"
    homes = dice.sample(["H1", "H2", "H3"], 2)
    match dice.choices("lcrvftdgqx", (40, 45, 5, 12, 5, 8, 4, 6, 8, 5))[0]:
        case "t":
            gift = TransferMinutes(household=homes[0], recipient_household=homes[1], minutes=dice.randint(1, 90))
            return transfer, gift, ADMIN
        case "d":
            return donate, DonateMinutes(household=homes[0], minutes=dice.randint(1, 90)), ADMIN
        case "g":
            return grant_minutes, GrantMinutes(household=homes[0], minutes=dice.randint(1, 40), need="other"), ADMIN
        case "q":
            return ask, wanted(f"Q{number}", homes[0], dice.randint(1, 90)), ADMIN
        case "x":
            return cancel, CancelRequest(request=f"Q{dice.randint(max(0, number - 20), number)}"), ADMIN
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


# ── What isn't hours ─────────────────────────────────────────────────────────────────────────────────────────────


def wanted(request: str, household: str = "H1", minutes: int = 60) -> AskForService:
    start, end = at("11-23 08:00"), at("11-24 18:00")
    return AskForService(
        request=request,
        household=household,
        service="陪诊",
        earliest_at=start,
        latest_at=end,
        estimated_minutes=minutes,
    )


def told(report: DryRunReport) -> list[tuple[str, str, int, int, int]]:
    return [
        (each.type.removesuffix(".v1"), each.code, each.decisions, each.minutes_before, each.minutes_after)
        for each in report.other_effects
    ]


def free(books: Books, report: DryRunReport, household: str) -> int:
    """What a household would hold."""
    after = {each.account: each.after.balance_minutes for each in report.accounts}
    return after.get("household:" + household, books.balance("household:" + household))


def test_gifts_are_decided_again_with_what_they_left_to_whom() -> None:
    books = Books(transfer="anyone")
    books.record(credited("H1", 300))
    for minutes in (60, 50):
        gift = TransferMinutes(household="H1", recipient_household="H2", minutes=minutes)
        books.must(transfer, gift, volunteer("V1"))
    books.must(donate, DonateMinutes(household="H2", minutes=80), volunteer("V3"))
    same = books.under(transfer="anyone")
    assert (same.other_effects, same.accounts, same.not_decided_again) == ([], [], {})
    bounded = books.under(transfer="anyone", transfer_minutes_month_max=60)
    assert told(bounded) == [
        ("minutes-donated", "balance-too-low", 1, 80, 0),
        ("minutes-transferred", "transfer-month-full", 1, 50, 0),
    ]
    assert (free(books, bounded, "H1"), free(books, bounded, "H2")) == (240, 60)
    assert {each.account: each.decisions for each in bounded.accounts} == {
        "household:H1": 1,
        "household:H2": 1,
        POOL: 0,
    }
    assert bounded.households_affected == 2
    (first, second) = bounded.affected_decisions
    assert first == AffectedDecision(
        len(books.recorded), "minutes-donated.v1", "household:H2", NOW.date(), "balance-too-low", 80, 0
    )
    assert (second.account, second.minutes_before) == ("household:H1", 50)
    assert {code for _, code, *_ in told(books.under())} == {"transfers-switched-off", "balance-too-low"}


def test_grants_and_opening_balances_are_decided_again() -> None:
    books = Books(starting_grant_minutes=120)
    books.must(fund_pool, FundPool(community=XINZHU, minutes=1000), ADMIN)
    books.must(grant_minutes, GrantMinutes(household="H2", minutes=100, need="illness"))
    books.must(grant_minutes, GrantMinutes(household="H2", minutes=60, need="illness"))
    books.must(grant_starting_minutes, GrantStartingMinutes(household="H1", need="illness"))
    books.must(propose_grant, ProposeGrant(grant="G1", household="H2", minutes=500, need="illness"), LOGGER)
    books.must(approve_grant, ApproveGrant(grant="G1"))
    opening = ProposeOpeningBalance(household="H1", opening="OB1", minutes=300)
    books.must(propose_opening_balance, opening, LOGGER)
    books.must(approve_opening_balance, ApproveOpeningBalance(household="H1", opening="OB1"))
    assert told(books.under(starting_grant_minutes=120)) == []
    changed = books.under(starting_grant_minutes=30, grant_minutes_alone_max=100, balance_minutes_max=320)
    assert told(changed) == [
        ("grant-approved", "balance-too-high", 1, 500, 0),
        ("minutes-granted", "grant-needs-approval", 1, 60, 0),
        ("opening-balance-credited", "balance-too-high", 1, 300, 0),
        ("starting-minutes-granted", "other-minutes", 1, 120, 30),
    ]
    assert (free(books, changed, "H1"), free(books, changed, "H2")) == (30, 100)


def shop(**settings: Any) -> Books:
    """V3's household holds 100 minutes, and has reserved and collected two rewards of 50."""
    books = Books(**settings)
    books.record(credited("H2", 100))
    books.record(PARTNER_REGISTERED, replace(REWARD_OFFERED, minutes=50, age_years_min=0, balance_minutes_min=0))
    for number in ("RV1", "RV2"):
        reservation = ReserveReward(
            reservation=number, reward="RW1", member="V3", code_sha256=code_sha256(number, CODE)
        )
        books.must(reserve, reservation, volunteer("V3"))
        books.must(collect, CollectReward(reservation=number, code=CODE), Actor("P1", "partner"))
    return books


def test_a_reservation_that_would_not_have_been_made_is_not_collected_either() -> None:
    books = shop()
    assert told(books.under()) == []
    old = books.under(redemption_age_years_min=60)
    assert told(old) == [("reward-reserved", "age-not-attested", 2, 100, 0)]
    assert old.follows == {"minutes-released.v1": 2, "reward-collected.v1": 2}
    assert (free(books, old, "H2"), books.balance("household:H2")) == (100, 0)
    rich = books.under(redemption_balance_minutes_min=80)  # what was left after the first was less
    assert told(rich) == [("reward-reserved", "redemption-balance-too-low", 1, 50, 0)]
    assert free(books, rich, "H2") == 50
    longer = books.under(reservation_days=30)
    assert told(longer) == [("reward-reserved", "other-terms", 2, 100, 100)]
    assert (longer.accounts[0].decisions, free(books, longer, "H2")) == (2, 0)


def test_what_a_request_holds_is_decided_again_until_it_is_released() -> None:
    for hold in (True, False):
        books = Books(payer="recipient", request_hold=hold)
        books.record(credited("H1", 100))
        books.must(ask, wanted("Q1"), volunteer("V1"))
        books.must(ask, wanted("Q2", minutes=40), volunteer("V1"))
        books.must(cancel, CancelRequest(request="Q1"), volunteer("V1"))
        books.must(donate, DonateMinutes(household="H1", minutes=60), volunteer("V1"))
        assert told(books.under(payer="recipient", request_hold=hold)) == []
        other = books.under(payer="recipient", request_hold=not hold)
        before, after = (100, 0) if hold else (0, 100)
        assert told(other) == [
            ("request-asked", "other-minutes", 2, before, after),
            ("request-cancelled", "other-terms", 1, 0, 0),
        ]
        assert free(books, other, "H1") == 40
    short = books.under(payer="recipient", request_hold=True, balance_minutes_min=0, record_minutes_max=50)
    assert ("request-asked", "record-too-long", 1, 0, 0) in told(short)
    assert short.follows == {"request-cancelled.v1": 1}


def test_a_requests_hold_pays_for_its_record_in_each_history() -> None:
    books = Books(payer="recipient")
    books.record(credited("H2", 100))
    window = {"earliest_at": at("11-22 12:00"), "latest_at": at("11-22 18:00")}
    books.must(ask, wanted("Q1", "H2").model_copy(update=window), volunteer("V3"))
    books.must(offer, MakeOffer(request="Q1", volunteer="V1"), volunteer("V1"))
    books.must(accept, AcceptOffer(request="Q1", volunteer="V1"), volunteer("V3"))
    books.now = at("11-22 18:00")
    times = {"started_at": at("11-22 12:00"), "ended_at": at("11-22 13:00")}
    books.must(fulfil, FulfilRequest(request="Q1", record="R1", **times), volunteer("V1"))
    books.must(confirm, ConfirmHours(record="R1"), volunteer("V3"))
    books.must(donate, DonateMinutes(household="H2", minutes=40), volunteer("V3"))
    assert told(books.under(payer="recipient")) == []
    held = books.under(payer="recipient", request_hold=True)
    assert told(held) == [("request-asked", "other-minutes", 1, 0, 60)]
    assert (held.affected, free(books, held, "H2")) == ([], 0)


def test_the_days_of_a_dispute_are_decided_again() -> None:
    books = Books()
    books.must(log, hours("R1", "11-21 09:00 - 10:00"), LOGGER)
    books.must(confirm, ConfirmHours(record="R1"))
    settled = books.recorded[-1].recorded_at_microseconds
    opening = OpenDispute(
        dispute="D1",
        record="R1",
        ground="not-served",
        settled_at=EPOCH + timedelta(microseconds=settled),
        text="没有来",
        salt="s",
    )
    # The journal of these tests counts microseconds from 1970, so the deadline must be long.
    assert not books.do(open_dispute, opening, volunteer("V3"))
    books = Books(dispute_days_max=366, silence_days=None)
    books.microseconds = round(at("11-21 12:00").timestamp()) * 1_000_000
    books.must(log, hours("R1", "11-21 09:00 - 10:00"), LOGGER)
    books.must(confirm, ConfirmHours(record="R1"))
    settled_at = EPOCH + timedelta(microseconds=books.recorded[-1].recorded_at_microseconds)
    books.must(open_dispute, opening.model_copy(update={"settled_at": settled_at}), volunteer("V3"))
    books.now += timedelta(days=16)
    books.must(escalate_dispute, EscalateDispute(dispute="D1"), TIME)
    assert told(books.under(dispute_days_max=366)) == []
    later = books.under(dispute_days_max=366, dispute_decision_days=30)
    assert told(later) == [
        ("dispute-escalated", "dispute-not-due", 1, 0, 0),
        ("dispute-opened", "other-terms", 1, 60, 60),
    ]
    never = books.under(dispute_days_max=0)
    assert told(never) == [("dispute-opened", "disputed-too-late", 1, 60, 0)]
    assert never.follows == {"dispute-escalated.v1": 1}


def test_a_visit_that_would_have_been_left_open_too_long_earns_nothing() -> None:
    books = Books()
    books.now = at("11-22 09:00")
    books.must(check_in, CheckIn(visit="C1", volunteer="V1", service="助餐", recipient_household="H2"), volunteer("V1"))
    books.now = at("11-22 11:00")
    books.must(check_out, CheckOut(visit="C1", record="R1"), volunteer("V1"))
    books.must(confirm, ConfirmHours(record="R1"))
    books.must(check_in, CheckIn(visit="C2", volunteer="V4", service="助餐", recipient_household="H2"), volunteer("V4"))
    books.now += timedelta(minutes=721)
    books.must(mark_overdue, MarkOverdue(visit="C2"), TIME)
    assert told(books.under()) == []
    short = books.under(check_in_minutes_max=60)
    assert told(short) == [("checked-out", "visit-too-long", 1, 0, 0)]
    assert short.total_after.credited_minutes == 0
    long = books.under(check_in_minutes_max=1440)
    assert told(long) == [("visit-overdue", "visit-not-overdue", 1, 0, 0)]
    # That the record itself would be refused is told with the hours, once.
    brief = books.under(record_minutes_max=60)
    assert (told(brief), [each.code for each in brief.affected]) == ([], ["record-too-long"])


def test_silence_that_settled_and_would_settle_is_shown() -> None:
    books = Books(silence_days=7)
    books.microseconds = round(at("11-21 12:00").timestamp()) * 1_000_000
    for record in ("R1", "R2"):
        books.must(log, hours(record, f"11-2{record[1]} 09:00 - 10:00"), LOGGER)
    books.now += timedelta(days=8)
    logged_at = EPOCH + timedelta(microseconds=books.microseconds)
    books.must(settle_silence, SettleSilence(record="R1", logged_at=logged_at), TIME)
    assert told(books.under(silence_days=7)) == []
    never = books.under()
    assert [(each.record, each.code) for each in never.affected] == [("R1", "silence-not-over")]
    assert told(never) == [("hours-confirmed", "confirmed-by-silence", 1, 60, 0)]  # R2 is about to be
    longer = books.under(silence_days=30)
    assert never.total_after.credited_minutes == longer.total_after.credited_minutes == 0
    waiting = Books()
    waiting.microseconds = books.microseconds
    waiting.must(log, hours("R1", "11-21 09:00 - 10:00"), LOGGER)
    soon = dry_run(waiting, Policy(silence_days=7), ZONE, now=NOW + timedelta(days=8))  # type: ignore[arg-type]
    assert told(soon) == [("hours-confirmed", "confirmed-by-silence", 1, 0, 60)]
    assert soon.total_after.credited_minutes == 60
    assert told(waiting.under(silence_days=7)) == []


def test_expiry_that_was_and_that_would_be_is_shown() -> None:
    books = Books(expiry_months=1, expiry_notice_days=1)
    for record, day in (("R1", "10-30"), ("R2", "11-21")):
        books.must(log, hours(record, f"{day} 09:00 - 10:00"), LOGGER)
        books.must(confirm, ConfirmHours(record=record))
    books.now = at("11-30 12:00")
    books.must(announce_expiry, AnnounceExpiry(household="H1", records=("R1", "R2")), TIME)
    announced = books.recorded[-1].envelope.fact
    books.now = at("12-01 12:00")
    books.must(expire_minutes, ExpireMinutes(household="H1", announcement=announced.announcement), TIME)
    assert books.balance("household:H1") == 60
    assert told(books.under(expiry_months=1, expiry_notice_days=1)) == []
    never = books.under()
    assert told(never) == [("expiry-announced", "nothing-expires", 1, 0, 0)]
    assert never.follows == {"minutes-expired.v1": 1}
    assert free(books, never, "H1") == 120
    lasting = Books()
    for record, day in (("R1", "10-30"), ("R2", "11-21")):
        lasting.must(log, hours(record, f"{day} 09:00 - 10:00"), LOGGER)
        lasting.must(confirm, ConfirmHours(record=record))
    lapsing = lasting.under(expiry_months=1, expiry_notice_days=10)
    assert told(lapsing) == [("expiry-announced", "would-lapse", 1, 0, 60)]
    (affected,) = lapsing.affected_decisions
    assert (affected.account, affected.position) == ("household:H1", 0)
    assert free(lasting, lapsing, "H1") == 120  # announced only


def test_where_a_closed_households_balance_goes_is_decided_again() -> None:
    books = Books()
    books.record(credited("H2", 100))
    books.must(close_household, CloseHousehold(household="H2", cause="moved-away"), ADMIN)
    assert told(books.under()) == []
    lost = books.under(closing_balance="expire")
    assert told(lost) == [("household-closed", "other-terms", 1, 100, 100)]
    (pool,) = [each for each in lost.accounts if each.account == POOL]
    assert (pool.before.balance_minutes, pool.after.balance_minutes) == (100, 0)
