"""Leaving for another ledger with the balance, and what it takes for the other one to believe it."""

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import Account, BalancePaidIn, BalanceTakenAlong, MinutesHeld
from domain.fact import Movement
from domain.household import ClosedHousehold, HouseholdClosed, MemberRegistered, Person, UnknownHousehold
from domain.household_life import DecidedByMember, MinutesStillHeld
from domain.policy import NoPolicyInForce
from domain.statement import (
    BalanceStatement,
    LedgerAlreadyTrusted,
    LedgerNotTrusted,
    LedgerTrusted,
    NothingToTakeAlong,
    PayIn,
    SameLedger,
    StatementAlreadyPaidIn,
    StatementExpired,
    StatementForAnotherLedger,
    StatementNotGenuine,
    TakeAlong,
    TakeAlongNotAllowed,
    Trust,
    TrustLedger,
    VerifierKey,
    pay_in,
    take_balance_along,
    trust_ledger,
)
from tests.controls import (
    ADMIN,
    BALANCE_PAID_IN,
    BALANCE_TAKEN_ALONG,
    DISTRICT,
    LEDGER_TRUSTED,
    STAFF_ELSEWHERE,
    STATEMENT,
    XINGNING_KEY,
    XINZHU,
    at,
    credited,
    district,
    given,
)

TAKE = TakeAlong(household="H1", receiving_ledger="xingning", ledger="qingxiu")
ALLOWED = (*district(take_along=True), credited("H1", 60))
PAY = PayIn(household="H2", ledger="qingxiu", statement=STATEMENT, key=XINGNING_KEY)
TRUSTING = (*DISTRICT, LEDGER_TRUSTED)


# ── Taken along ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_household_takes_its_whole_balance_along_and_is_closed() -> None:
    closed = HouseholdClosed("H1", "left-for-ledger", "pool:" + XINZHU, ("V1", "V2"))
    facts = given(ALLOWED).when(take_balance_along, TAKE).then(closed, BALANCE_TAKEN_ALONG, policy=1).facts
    after = given(ALLOWED, facts)
    assert after.state(Account.of("household:H1")).balance_minutes == 0
    assert after.state(Account.of("ledger:xingning")).balance_minutes == 60
    assert after.state(Person.of("V1")) == Person("V1", None, volunteer=True, left=True)
    after.when(take_balance_along, TAKE).refused(ClosedHousehold("H1"))


def test_statements_are_numbered_one_by_one() -> None:
    other = TAKE.model_copy(update={"household": "H2"})
    _, taken = given(ALLOWED, BALANCE_TAKEN_ALONG, credited("H2", 5)).when(take_balance_along, other).accepted
    assert taken == BalanceTakenAlong("household:H2", "ledger:xingning", 5, "H2", "qingxiu-2", ("V3",))


@pytest.mark.parametrize("balance", [0, -30])
def test_what_is_not_there_is_not_taken_along(balance: int) -> None:
    facts = (*district(take_along=True), credited("H1", balance))
    given(facts).when(take_balance_along, TAKE).refused(NothingToTakeAlong("H1", balance))


def test_nothing_is_taken_along_where_the_policy_says_no_or_minutes_are_held() -> None:
    given(DISTRICT, credited("H1", 60)).when(take_balance_along, TAKE).refused(TakeAlongNotAllowed(1))
    held = MinutesHeld("household:H1", 20, "request:Q1")
    given(ALLOWED, held).when(take_balance_along, TAKE).refused(MinutesStillHeld("household:H1", 20))
    unruled = [fact for fact in ALLOWED if fact.type != "policy-adopted.v2"]
    given(unruled).when(take_balance_along, TAKE).refused(NoPolicyInForce("2026-11-22"))


def test_who_may_not_decide_takes_nothing_along() -> None:
    given(ALLOWED).when(take_balance_along, TAKE, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H1"))
    given(ALLOWED, MemberRegistered("S2", "H1")).when(take_balance_along, TAKE).refused(DecidedByMember("H1"))
    same = TAKE.model_copy(update={"receiving_ledger": "qingxiu"})
    given(ALLOWED).when(take_balance_along, same).refused(SameLedger("qingxiu"))


# ── Trust ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_is_trusted_with_one_key_at_a_time() -> None:
    command = TrustLedger(ledger="xingning", key=XINGNING_KEY)
    given(DISTRICT).when(trust_ledger, command, actor=ADMIN).then(LEDGER_TRUSTED)
    given(TRUSTING).when(trust_ledger, command, actor=ADMIN).refused(LedgerAlreadyTrusted("xingning"))
    new = str(VerifierKey.of("xingning", bytes(32)))
    renewed = given(TRUSTING).when(trust_ledger, TrustLedger(ledger="xingning", key=new), actor=ADMIN).accepted
    assert renewed == (LedgerTrusted("xingning", new, "A1"),)
    assert given(TRUSTING, renewed).state(Trust.of("xingning")).key == new
    given(TRUSTING, renewed).when(pay_in, PAY).refused(LedgerNotTrusted("xingning"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "xingning",
        "xingning+00000000+AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
        XINGNING_KEY[:-1],
        XINGNING_KEY + "=",
        XINGNING_KEY.upper(),
        XINGNING_KEY.replace("xingning", "qingxiu"),
    ],
)
def test_a_key_that_is_none_is_not_trusted(key: str) -> None:
    with pytest.raises(ValidationError):
        TrustLedger(ledger="xingning", key=key)


# ── Paid in ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_statement_is_paid_in_once_and_never_again_to_nobody() -> None:
    (paid,) = given(TRUSTING).when(pay_in, PAY).accepted
    assert isinstance(paid, BalancePaidIn)
    assert (paid.source, paid.target, paid.minutes) == ("ledger:xingning", "household:H2", 60)
    assert paid.statement == "xingning-1"
    assert len(paid.statement_digest) == 64
    for household in ("H2", "H1"):
        again = PAY.model_copy(update={"household": household})
        given(TRUSTING, paid).when(pay_in, again).refused(StatementAlreadyPaidIn("xingning-1"))
    given(TRUSTING, BALANCE_PAID_IN).when(pay_in, PAY).refused(StatementAlreadyPaidIn("xingning-1"))


def test_a_copy_that_is_valid_longer_is_the_same_statement() -> None:
    copy = PAY.model_copy(update={"statement": STATEMENT.model_copy(update={"valid_until": date(2027, 6, 1)})})
    given(TRUSTING, BALANCE_PAID_IN).when(pay_in, copy).refused(StatementAlreadyPaidIn("xingning-1"))


def test_a_balance_from_elsewhere_is_not_cut_at_the_cap() -> None:
    facts = (*district(balance_minutes_max=100, above_balance_max="refuse"), LEDGER_TRUSTED, credited("H2", 90))
    assert given(facts).when(pay_in, PAY).accepted


def test_a_statement_is_believed_only_with_the_key_that_is_trusted_to_whom_it_names_and_in_its_time() -> None:
    given(DISTRICT).when(pay_in, PAY).refused(LedgerNotTrusted("xingning"))
    here = PAY.model_copy(update={"ledger": "liangqing"})
    given(TRUSTING).when(pay_in, here).refused(StatementForAnotherLedger("xingning-1", "qingxiu"))
    day = STATEMENT.model_copy(update={"valid_until": date(2026, 11, 22)})
    assert given(TRUSTING).when(pay_in, PAY.model_copy(update={"statement": day})).accepted
    late = STATEMENT.model_copy(update={"valid_until": date(2026, 11, 21)})
    refused = StatementExpired("xingning-1", "2026-11-21")
    given(TRUSTING).when(pay_in, PAY.model_copy(update={"statement": late})).refused(refused)


def test_a_statement_is_paid_in_to_an_open_household_by_who_may() -> None:
    unknown = PAY.model_copy(update={"household": "H9"})
    given(TRUSTING).when(pay_in, unknown).refused(UnknownHousehold("H9"))
    given(TRUSTING).when(pay_in, PAY, actor=STAFF_ELSEWHERE).refused(UnknownHousehold("H2"))
    given(TRUSTING, MemberRegistered("S2", "H2")).when(pay_in, PAY).refused(DecidedByMember("H2"))
    closed = HouseholdClosed("H2", "other", "expired", ())
    given(TRUSTING, closed).when(pay_in, PAY).refused(ClosedHousehold("H2"))


@drawn(st.integers(1, 5_000), st.integers(1, 20))
def test_over_both_ledgers_nothing_is_made_or_lost(minutes: int, number: int) -> None:
    earlier = [replace(BALANCE_TAKEN_ALONG, source="household:H9")] * (number - 1)
    here = given(district(take_along=True), credited("H1", minutes), earlier)
    _, taken = here.when(take_balance_along, TAKE).accepted
    assert isinstance(taken, BalanceTakenAlong)
    statement = STATEMENT.model_copy(
        update={"ledger": "qingxiu", "number": number, "minutes": taken.minutes, "receiving_ledger": "xingning"}
    )
    assert statement.id == taken.statement
    key = str(VerifierKey.of("qingxiu", bytes(32)))
    there = given(DISTRICT, LedgerTrusted("qingxiu", key, "A1"))
    (paid,) = there.when(pay_in, PayIn(household="H2", ledger="xingning", statement=statement, key=key)).accepted
    balances: Counter[str] = Counter()
    for fact in (credited("H1", minutes), taken, paid):
        assert isinstance(fact, Movement)
        balances[fact.source] -= fact.minutes
        balances[fact.target] += fact.minutes
    assert balances["ledger:xingning"] == -balances["ledger:qingxiu"] == minutes
    assert (balances["household:H1"], balances["household:H2"], balances["issuance"]) == (0, minutes, -minutes)


# ── The text that is signed ──────────────────────────────────────────────────────────────────────────────────────


def test_a_statement_is_canonical_text_that_reads_back() -> None:
    text = STATEMENT.text()
    assert BalanceStatement.parse(text) == STATEMENT
    assert text == (
        "timebank-statement/v1\n"
        '{"earned_minutes":90,"household":"K1","issued_at":"2026-11-01T09:00:00+08:00","ledger":"xingning",'
        '"members":["W1","W2"],"minutes":60,"number":1,"policy":1,"receiving_ledger":"qingxiu","spent_minutes":30,'
        '"valid_until":"2027-01-30"}\n'
    )
    utc = STATEMENT.model_copy(update={"issued_at": datetime(2026, 11, 1, tzinfo=UTC)})
    assert BalanceStatement.parse(utc.text()) == utc
    assert at("11-01 09:00") == STATEMENT.issued_at


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("/v1", "/v2"),
        lambda text: text.replace('"minutes":60', '"minutes":60.0'),
        lambda text: text.replace('"minutes":60', '"minutes":"60"'),
        lambda text: text.replace('"minutes":60', '"minutes":-60'),
        lambda text: text.replace('"minutes":60', '"minutes": 60'),
        lambda text: text.replace('"policy":1', '"policy":1,"policy":1'),
        lambda text: text.replace('"policy":1', '"policy":1,"note":1'),
        lambda text: text.replace('"policy":1,', ""),
        lambda text: text + "\n",
        lambda text: text[:0],
        lambda text: text.upper(),
    ],
)
def test_what_is_not_canonical_is_no_statement(change: Any) -> None:
    with pytest.raises(StatementNotGenuine):
        BalanceStatement.parse(change(STATEMENT.text()))
