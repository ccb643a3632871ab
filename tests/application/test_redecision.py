"""Every fact is decided again, whatever command it came from; and what the rules wouldn't have made is found."""

import dataclasses
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from application.finding import (
    BACK_IN_TIME,
    BEFORE_DECIDED,
    COUNTED_OTHERWISE,
    GAP,
    KEPT_MAX,
    KINDS,
    LONG_AFTER,
    MIXED,
    NO_COMMAND,
    OTHER_POLICY,
    OTHER_TAGS,
    OTHERWISE,
    REFUSED,
    REPEATED,
    UNDECIDABLE,
    Finding,
    Findings,
)
from application.read_back import FOLLOWING, LEADING
from application.redecision import CLOCKS_DIFFER_MAX, Redecision
from application.write_loop import Accepted, Ticket, Writer
from domain.account import (
    FundPool,
    GrantMinutes,
    HoursConfirmed,
    MinutesGranted,
    MinutesHeld,
    MinutesReleased,
    PoolFunded,
    fund_pool,
    grant_minutes,
)
from domain.certificate import CertificateIssued
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from domain.decision import Actor
from domain.fact import Envelope
from domain.facts import FACTS
from domain.hours import (
    ConfirmHours,
    HoursLogged,
    ImportHours,
    LogHours,
    ReverseHours,
    confirm,
    import_hours,
    local,
    log,
    reverse,
)
from domain.household import (
    EnrolVolunteer,
    MemberRegistered,
    RegisterHousehold,
    RegisterMember,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.ledger import OpenLedger, open_ledger
from domain.policy import AdoptPolicy, Policy, PolicyAdopted, adopt
from domain.recognition import StarAwarded
from tests.controls import COMMAND_EXAMPLES, GRID, NOW, XINZHU, ZONE, at
from tests.domain.test_time_bank import TimeBank, live_through_everything
from tests.in_memory import InMemoryFactStore
from tests.redecided import Facts, journal
from tests.redecided import redecided as decided_in_batches

ADMIN, CLERK = Actor("D1", "admin"), Actor("S1", "staff")


def redecided(facts: Facts, **how: Any) -> Redecision:
    """Whatever is read at once, it comes to the same."""
    one_by_one, at_once = (decided_in_batches(facts, batch=batch, **how) for batch in (1, 1_000))
    found, also = (
        sorted(each.findings.found, key=lambda one: (one.position, one.kind)) for each in (one_by_one, at_once)
    )
    assert (found, one_by_one.commands, one_by_one.undecided) == (also, at_once.commands, at_once.undecided)
    return one_by_one


def found(facts: Facts, **how: Any) -> list[tuple[int, str, str]]:
    return [(one.position, one.kind, one.code) for one in redecided(facts, **how).findings.found]


class Day:
    """A journal in the making: an hour of service that is logged and confirmed, and a grant."""

    def __init__(self, *, synthetic: bool = False) -> None:
        self.store = InMemoryFactStore()
        self.now = NOW
        self.writer = Writer(self.store, ZONE, clock=lambda: self.now)
        self.commands = 0
        self.send(open_ledger, OpenLedger(name="青秀区时间银行", synthetic=synthetic), ADMIN)
        self.send(adopt, AdoptPolicy(effective_on=at("01-01 00:00").date(), policy=Policy()), ADMIN)
        self.send(register_community, RegisterCommunity(community=XINZHU), ADMIN)
        self.send(register_grid, RegisterGrid(community=XINZHU, grid=GRID), ADMIN)
        for household, member in (("H1", "V1"), ("H2", "V2")):
            self.send(register_household, RegisterHousehold(household=household, community=XINZHU, grid=GRID), CLERK)
            self.send(register_member, RegisterMember(member=member, household=household), CLERK)
        self.send(enrol_volunteer, EnrolVolunteer(volunteer="V1"), CLERK)
        claim = LogHours(
            record="R1",
            volunteer="V1",
            recipient_household="H2",
            service="助餐",
            started_at=at("11-20 09:00"),
            ended_at=at("11-20 10:30"),
        )
        self.send(log, claim, Actor("V1", "volunteer"))
        self.send(confirm, ConfirmHours(record="R1"), CLERK)
        self.send(fund_pool, FundPool(community=XINZHU, minutes=600), ADMIN)
        self.send(grant_minutes, GrantMinutes(household="H2", minutes=60, need="living-alone"), CLERK)

    def send(self, decide: Any, command: Any, actor: Actor, *, imported: bool = False) -> None:
        self.commands += 1
        ticket = Ticket(decide, command, actor, f"{self.commands:032x}", imported=imported)
        self.writer.run([ticket])
        assert isinstance(ticket.outcome, Accepted), ticket.outcome


@pytest.fixture(scope="module")
def day() -> Facts:
    return journal(Day().store)


def with_envelope(facts: Facts, position: int, **changes: Any) -> Facts:
    """The journal with other words in one envelope, and the tags that those have."""
    recorded, _ = facts[position - 1]
    envelope = replace(recorded.envelope, **changes)
    return [*facts[: position - 1], (replace(recorded, envelope=envelope), envelope.tags()), *facts[position:]]


def with_fact(facts: Facts, position: int, **changes: Any) -> Facts:
    return with_envelope(facts, position, fact=replace(facts[position - 1][0].envelope.fact, **changes))


def where(facts: Facts, kind: type) -> int:
    """The position of the first fact of a type."""
    return next(recorded.position for recorded, _ in facts if isinstance(recorded.envelope.fact, kind))


def renumbered(facts: Facts) -> Facts:
    return [(replace(recorded, position=position), tags) for position, (recorded, tags) in enumerate(facts, 1)]


# ── What was decided is decided again ────────────────────────────────────────────────────────────────────────


def test_every_fact_type_is_read_back_by_itself_or_with_the_one_that_it_follows() -> None:
    assert {*LEADING, *FOLLOWING} == set(FACTS.values())
    assert len(LEADING) + len(FOLLOWING) == len(FACTS)


def test_a_life_in_which_every_command_is_accepted_is_decided_again_without_a_finding() -> None:
    """Also with hardly anything remembered, so that nearly every state is folded again from its own facts."""
    bank = TimeBank()
    live_through_everything(bank)
    decided_by: set[str] = set()
    for ledger in (bank.here, bank.there):
        facts = journal(ledger.store)
        decided_by |= {name for name, answer in ledger.told if answer == "Accepted"}
        for states_max in (1, 100_000):
            redecision = redecided(facts, states_max=states_max)
            assert redecision.findings.found == []
            assert redecision.position == len(facts)
    assert {decide.__name__ for decide in COMMAND_EXAMPLES} == decided_by


def test_an_ordinary_day_is_decided_again(day: Facts) -> None:
    redecision = redecided(day)
    assert (redecision.findings.found, redecision.findings.total, redecision.undecided) == ([], 0, 0)
    assert (redecision.position, redecision.commands) == (len(day), len(day))


def test_a_row_of_older_books_that_later_ones_settle_is_decided_again() -> None:
    """Its record isn't remembered from one command to the next."""
    day = Day()
    started_at, ended_at = local(at("11-19 09:00"), ZONE), local(at("11-19 10:00"), ZONE)
    row = ImportHours("R9", "V1", "H1", XINZHU, "H2", XINZHU, GRID, "助餐", started_at, ended_at, 60, None, "logged")
    day.send(import_hours, row, ADMIN, imported=True)
    day.send(import_hours, replace(row, confirmed_by="S9", status="confirmed"), ADMIN, imported=True)
    day.send(import_hours, replace(row, confirmed_by="S9", status="reversed"), ADMIN, imported=True)
    facts = journal(day.store)
    assert [recorded.envelope.fact.type for recorded, _ in facts[-3:]] == [
        "hours-logged.v1",
        "hours-confirmed.v1",
        "hours-reversed.v1",
    ]
    for states_max in (1, 100_000):
        assert redecided(facts, states_max=states_max).findings.found == []
    again = with_envelope([*facts, facts[-1]], len(facts), command="f" * 32)
    assert [kind for _, kind, _ in found(renumbered(again))] == [OTHERWISE]  # the row again would record nothing


def overlapping_rows() -> Facts:
    """Rows of the same hour, by volunteers and households that are new: those after the first don't count."""
    day = Day()
    started_at, ended_at = local(at("11-19 09:00"), ZONE), local(at("11-19 10:00"), ZONE)
    row = ImportHours("R8", "V7", "H7", XINZHU, "H8", XINZHU, GRID, "助餐", started_at, ended_at, 60, "S9", "confirmed")
    day.send(import_hours, row, ADMIN, imported=True)
    day.send(import_hours, replace(row, record="R9", status="reversed"), ADMIN, imported=True)
    day.send(import_hours, replace(row, record="R10", volunteer="V9", status="rejected"), ADMIN, imported=True)
    return journal(day.store)


def test_a_row_that_the_reading_ends_within_may_be_one_that_needs_not_keep_all_rules() -> None:
    facts = overlapping_rows()
    assert [one.envelope.fact.type.split("-")[-1] for one, _ in facts[-7:]] == [
        *("logged.v1", "confirmed.v1", "reversed.v1"),
        *("registered.v1", "enrolled.v1", "logged.v1", "rejected.v1"),
    ]
    for end in range(len(facts) - 7, len(facts) + 1):
        assert redecided(facts[:end], may_go_on=True).findings.found == []
    overlapping = with_fact(facts[:-4], len(facts) - 5, minutes=61)
    assert [kind for _, kind, _ in found(overlapping, may_go_on=True)] == [OTHERWISE]  # nothing comes after a reversal


@pytest.mark.parametrize("name", ["recipient_household", "rejected_by", "record", "volunteer"])
def test_an_empty_number_in_a_row_of_older_books_is_found(name: str) -> None:
    facts = overlapping_rows()
    *_, logged, rejected = facts
    position = (rejected if name == "rejected_by" else logged)[0].position
    assert (len(facts) - 3, NO_COMMAND, "") in found(with_fact(facts, position, **{name: ""}))


# ── What the rules wouldn't have made ────────────────────────────────────────────────────────────────────────


def test_what_the_rules_refuse_is_found_with_the_refusal(day: Facts) -> None:
    position = where(day, HoursConfirmed)
    own = with_envelope(day, position, actor="V1", fact=replace(day[position - 1][0].envelope.fact, confirmed_by="V1"))
    redecision = redecided(own)
    (finding,) = redecision.findings.found
    assert finding == Finding(
        REFUSED,
        "“V1”登记或提供了服务记录“R1”，不能由本人确认。",
        "“V1” logged or gave the service of record “R1”; somebody else must confirm it.",
        position=position,
        type="hours-confirmed.v1",
        command=day[position - 1][0].envelope.command,
        code="confirmed-by-logger",
    )
    assert redecision.findings.counts == {(REFUSED, "confirmed-by-logger"): 1}
    zh, en = finding.told_zh, finding.told_en
    assert zh.startswith(f"位置 {position} (hours-confirmed.v1): 规则当时会拒绝 [confirmed-by-logger]：“V1”")
    assert en.startswith(f"position {position} (hours-confirmed.v1): the rules would have refused it [confirmed-by")


@pytest.mark.parametrize(
    ("kind", "changes", "finding"),
    [
        (HoursLogged, {"service_minutes": 95}, (OTHERWISE, "")),
        (HoursLogged, {"claimed_minutes": 5, "service_minutes": 5}, (REFUSED, "record-too-short")),
        (HoursLogged, {"volunteer": "V2"}, (REFUSED, "not-yourself")),
        (HoursLogged, {"claimed_minutes": 0}, (NO_COMMAND, "")),
        (HoursLogged, {"record": "45010319600101001X 13800138000"}, (NO_COMMAND, "")),
        (HoursConfirmed, {"minutes": 91}, (OTHERWISE, "")),
        (HoursConfirmed, {"target": "household:H2"}, (OTHERWISE, "")),
        (HoursConfirmed, {"confirmed_by": "S9"}, (OTHERWISE, "")),
        (HoursConfirmed, {"rating": 6}, (NO_COMMAND, "")),
        (PoolFunded, {"minutes": -600}, (NO_COMMAND, "")),
        (PoolFunded, {"source": "household:H1"}, (OTHERWISE, "")),
        (MinutesGranted, {"minutes": 601}, (REFUSED, "balance-too-low")),
        (MinutesGranted, {"on": at("11-01 00:00").date()}, (OTHERWISE, "")),
    ],
)
def test_a_changed_fact_is_found_where_it_is(
    day: Facts, kind: type, changes: dict[str, Any], finding: tuple[str, str]
) -> None:
    position = where(day, kind)
    assert found(with_fact(day, position, **changes))[0] == (position, *finding)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"actor": "V2"}, REFUSED),
        ({"actor": "S2", "role": "staff"}, OTHERWISE),
        ({"role": "owner"}, NO_COMMAND),
        ({"policy": 2}, OTHER_POLICY),
        ({"decided_at": at("11-20 10:00")}, REFUSED),
    ],
)
def test_a_changed_envelope_is_found(day: Facts, changes: dict[str, Any], kind: str) -> None:
    position = where(day, HoursLogged)
    kinds = [each for at_, each, _ in found(with_envelope(day, position, **changes)) if at_ == position]
    assert kind in kinds


def test_a_policy_that_no_command_could_set_is_found(day: Facts) -> None:
    position = where(day, PolicyAdopted)
    assert found(with_fact(day, position, policy=Policy(record_minutes_max=0)))[0] == (position, NO_COMMAND, "")


def test_other_tags_are_found(day: Facts) -> None:
    recorded, tags = day[4]
    (finding,) = redecided([*day[:4], (recorded, tags[1:]), *day[5:]]).findings.found
    assert (finding.position, finding.kind) == (5, OTHER_TAGS)
    assert tags[0] in finding.message_en


def test_a_removed_fact_is_a_gap_and_what_rested_on_it_is_refused(day: Facts) -> None:
    position = where(day, HoursLogged)
    rest = [*day[: position - 1], *day[position:]]
    assert found(rest)[:2] == [(position + 1, GAP, ""), (position + 1, REFUSED, "unknown-record")]
    assert found(renumbered(rest)) == [(position, REFUSED, "unknown-record")]


def test_an_inserted_fact_is_judged_like_any_other(day: Facts) -> None:
    """Somebody registered twice; and a pool that was funded twice by the one command, which no other rule forbids."""
    again = day[where(day, MemberRegistered) - 1]
    new = replace(again[0].envelope, command="f" * 32)
    copied = renumbered([*day, (replace(again[0], recorded_at_microseconds=day[-1][0].recorded_at_microseconds), [])])
    copied[-1] = (replace(copied[-1][0], envelope=new), new.tags())
    assert found(copied) == [(len(copied), REFUSED, "member-already-registered")]
    funded = day[where(day, PoolFunded) - 1]
    twice = renumbered([*day, funded])
    assert found(twice) == [(len(twice), REPEATED, "")]


def test_a_swapped_pair_is_found(day: Facts) -> None:
    position = where(day, HoursLogged)
    swapped = renumbered([*day[: position - 1], day[position], day[position - 1], *day[position + 1 :]])
    assert (position, REFUSED, "unknown-record") in found(swapped)


def test_times_that_go_back_are_found(day: Facts) -> None:
    recorded, tags = day[6]
    earlier = replace(recorded, recorded_at_microseconds=recorded.recorded_at_microseconds - 1)
    assert found([*day[:6], (earlier, tags), *day[7:]]) == [(7, BACK_IN_TIME, "")]


def test_a_clock_may_be_ahead_of_the_journals_by_a_little_only(day: Facts) -> None:
    position = len(day)
    decided_at = day[-1][0].envelope.decided_at
    assert found(with_envelope(day, position, decided_at=decided_at + CLOCKS_DIFFER_MAX)) == []
    late = with_envelope(day, position, decided_at=decided_at + CLOCKS_DIFFER_MAX + timedelta(seconds=1))
    assert found(late) == [(position, BEFORE_DECIDED, "")]


def test_what_is_decided_long_before_it_is_recorded_is_found_in_real_ledgers_alone() -> None:
    """Scenes of a synthetic ledger are decided by a clock of their own (docs/decisions)."""
    for synthetic, kinds in ((False, [LONG_AFTER]), (True, [])):
        facts = journal(Day(synthetic=synthetic).store)
        recorded, tags = facts[-1]
        later = recorded.recorded_at_microseconds + 7_200_000_000
        facts[-1] = (replace(recorded, recorded_at_microseconds=later), tags)
        assert [one.kind for one in redecided(facts).findings.found] == kinds


def test_facts_that_no_command_leaves_alone_are_found(day: Facts) -> None:
    held = MinutesHeld("household:H1", 10, "request:Q1")
    envelope = replace(day[-1][0].envelope, command="e" * 32, fact=held)
    alone = [*day, (replace(day[-1][0], position=len(day) + 1, envelope=envelope), envelope.tags())]
    assert found(alone) == [(len(alone), NO_COMMAND, "")]
    released: Envelope[Any] = replace(envelope, fact=MinutesReleased("pool:" + XINZHU, 10, "request:Q1"))
    alone[-1] = (replace(alone[-1][0], envelope=released), released.tags())
    assert found(alone) == [(len(alone), OTHERWISE, "")]


def test_facts_of_one_command_that_differ_in_who_or_when_are_found() -> None:
    bank = TimeBank()
    live_through_everything(bank)
    facts = journal(bank.here.store)
    together = next(
        two.position for (one, _), (two, _) in pairwise(facts) if one.envelope.command == two.envelope.command
    )
    imported = facts[together - 1][0].envelope.imported
    for changes in ({"actor": "X9"}, {"digest": "0" * 32}, {"imported": not imported}):
        assert (together, MIXED, "") in found(with_envelope(facts, together, **changes))


def test_the_last_command_may_go_on_beyond_where_the_reading_ended() -> None:
    bank = TimeBank()
    live_through_everything(bank)
    facts = journal(bank.here.store)
    for cut in range(1, len(facts)):
        redecision = redecided(facts[:cut], states_max=100_000, may_go_on=True)
        assert redecision.findings.found == []
        whole = facts[cut - 1][0].envelope.command != facts[cut][0].envelope.command
        assert redecision.undecided == 0 if whole else redecision.undecided >= 0


def test_what_breaks_a_decision_is_found_like_what_it_refuses(day: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("damaged")

    monkeypatch.setattr("domain.hours._check_times", broken)
    position = where(day, HoursLogged)
    assert found(day)[0] == (position, UNDECIDABLE, "")


def test_every_kind_is_told_in_both_languages() -> None:
    assert all(zh and en and zh != en for zh, en in KINDS.values())


def test_findings_beyond_what_is_kept_are_counted_also_where_parts_are_joined() -> None:
    one, other = Findings(), Findings()
    for findings, count in ((one, KEPT_MAX - 1), (other, KEPT_MAX + 5)):
        for position in range(count):
            findings.add(Finding(GAP, "缺", "gap", position=position))
    other.add(Finding(REFUSED, "拒", "no", code="some-rule"))
    one.extend(other)
    assert one.counts == {(GAP, ""): 2 * KEPT_MAX + 4, (REFUSED, "some-rule"): 1}
    assert [each.kind for each in one.found] == [*[GAP] * KEPT_MAX, REFUSED]
    assert one.total == 2 * KEPT_MAX + 5


def test_what_was_counted_for_certificates_and_stars_is_counted_again() -> None:
    bank = TimeBank()
    live_through_everything(bank)
    facts = journal(bank.here.store)
    position = where(facts, CertificateIssued)
    issued = facts[position - 1][0].envelope.fact
    (first, *rest) = issued.services
    more = (dataclasses.replace(first, minutes=first.minutes + 60), *rest)
    for changes in (
        {"services": more, "service_minutes": issued.service_minutes + 60},
        {"records_sha256": "0" * 64},
        {"counted_position": len(facts)},
        {"counted_position": 1},
        {"until": issued.since},
    ):
        assert (position, COUNTED_OTHERWISE, "") in found(with_fact(facts, position, **changes)), changes
    star = where(facts, StarAwarded)
    minutes = facts[star - 1][0].envelope.fact.service_minutes
    assert (star, COUNTED_OTHERWISE, "") in found(with_fact(facts, star, service_minutes=minutes + 60))


@pytest.mark.parametrize("shares", [2, 3, 40])
def test_shares_of_the_deciding_find_together_what_one_finds_alone(day: Facts, shares: int) -> None:
    tampered = with_fact(with_envelope(day, len(day), policy=7), where(day, PoolFunded), minutes=-600)
    tampered = with_fact(tampered, where(day, HoursConfirmed), minutes=91)
    (recorded, tags) = tampered[4]
    tampered[4] = (recorded, tags[1:])
    alone = redecided(tampered)
    together, commands = Findings(), 0
    ends = [len(tampered) * share // shares for share in range(1, shares)]
    for first, last in zip([0, *ends], [*ends, None], strict=True):
        one = redecided(tampered, first=first + 1, last=last)
        together.extend(one.findings)
        commands += one.commands
    together.sort()
    assert together.found == alone.findings.found
    assert together.counts == alone.findings.counts
    assert commands == alone.commands


@pytest.mark.parametrize("states_max", [1, 100_000])
def test_wherever_a_share_begins_what_is_settled_before_it_is_known_to_it(states_max: int) -> None:
    """A record that is confirmed in one share and reversed in the next, and a whole life."""
    day = Day()
    day.send(reverse, ReverseHours(record="R1", reason="duplicate"), CLERK)
    bank = TimeBank()
    live_through_everything(bank)
    of_a_day, of_a_life = journal(day.store), journal(bank.here.store)
    for facts, every in ((of_a_day, 1), (of_a_life, 1 + len(of_a_life) // 25)):
        for first in range(1, len(facts) + 1, every):
            assert found(facts, first=first, states_max=states_max) == [], first
