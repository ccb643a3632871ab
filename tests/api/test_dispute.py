"""Disputes over HTTP: opened, stated, decided, withdrawn and read by those whom they concern, and by nobody else."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from api.due import ACTOR, DUE, run_due
from api.wiring import Timebank, known
from application.write_loop import Accepted, Ticket, Writer
from domain.account import Account, FundPool, fund_pool, household_account
from domain.decision import BY_TIME, Actor
from domain.dispute import (
    DecideDispute,
    Dispute,
    DisputeClosed,
    OpenDispute,
    StateCase,
    WithdrawDispute,
    decide_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.hours import (
    ConfirmHours,
    LogHours,
    RejectHours,
    ReverseHours,
    ServiceRecord,
    confirm,
    log,
    reject,
    reverse,
)
from domain.refusal import Refusal
from tests.api.service import JINHU, XINZHU, Api, Volunteer
from tests.projections.history import History, projecting

OpenBank = Callable[..., Timebank]
RACERS = 16


def settled(api: Api, earner: Volunteer, served: Volunteer, step: str = "confirmation", **changes: Any) -> str:
    """A record that S1 confirmed or rejected."""
    record = api.logged(earner, recipient_household=served.household, community=XINZHU, **changes)
    api.wrote(f"/v1/hours/{record}/{step}", {"reason": "not-served"} if step == "rejection" else None, "S1")
    return record


def opened(api: Api, record: str, by: str, **changes: Any) -> str:
    answer = api.wrote("/v1/disputes", {"record": record, "ground": "not-served"} | changes, by)
    assert answer["record"] == record
    return str(answer["dispute"])


def held(api: Api, person: Volunteer) -> int:
    return int(api.read(f"/v1/households/{person.household}/balance", person.number)["held_minutes"])


# ── Confirming ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_was_served_confirms_rates_and_remarks_and_others_do_not(api: Api) -> None:
    anna, served, stranger = (api.new_volunteer() for _ in range(3))
    record = api.logged(anna, recipient_household=served.household)
    path, body = f"/v1/hours/{record}/confirmation", {"rating": 4, "remark": "很耐心\n谢谢"}
    api.problem(api.post(path, body, stranger.number), 404, "unknown-record")
    api.problem(api.post(path, body, anna.number), 403, "confirmed-by-logger")
    api.problem(api.post(path, {"rating": 6}, served.number), 422, "invalid-request")
    assert api.wrote(path, body, served.number, "key")["facts"] == ["hours-confirmed.v1"]
    again = api.post(path, body, served.number, "key")
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    for reader in ("S1", served.number):
        row = api.read(f"/v1/hours/{record}", reader)
        assert (row["confirmed_as"], row["rating"], row["settled_by"]) == ("recipient", 4, served.number)
        assert row["remark"] == "很耐心\n谢谢"
    for reader in (anna.number, "auditor"):
        assert "remark" not in api.read(f"/v1/hours/{record}", reader)
    with psycopg.connect(api.bank.address) as connection:
        stored = b"".join(data for (data,) in connection.execute("SELECT data FROM facts"))
    assert "很耐心".encode() not in stored


def test_who_was_served_finds_what_waits_for_their_answer(api: Api) -> None:
    anna, served, stranger = (api.new_volunteer() for _ in range(3))
    records = [api.logged(anna, recipient_household=served.household, hour=hour) for hour in (9, 11)]
    api.wrote(f"/v1/hours/{records[0]}/confirmation", None, served.number)

    def listed(by: str, **filters: Any) -> list[str]:
        page = api.read("/v1/hours", by, recipient_household=served.household, **filters)
        return [row["record"] for row in page["items"]]

    assert listed(served.number) == listed("S1") == records
    assert listed(served.number, status="logged") == records[1:]
    for by in (stranger.number, anna.number):
        response = api.get("/v1/hours", by, recipient_household=served.household)
        api.problem(response, 403, "own-records-only")


# ── Disputes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dispute_is_opened_heard_and_upheld(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    record = settled(api, anna, served)
    number = opened(api, record, served.number, text="那天没有人来")
    assert held(api, anna) == 60
    api.problem(api.post(f"/v1/hours/{record}/reversal", {"reason": "other"}, "S2"), 409, "record-in-dispute")
    verdict = {"outcome": "upheld", "text": "双方所述不一，签到表为空"}
    api.problem(api.post(f"/v1/disputes/{number}/decision", verdict, "S2"), 422, "sides-not-heard")
    api.wrote(f"/v1/disputes/{number}/statement", {"ground": "served", "text": "我在场"}, anna.number)
    decided = api.wrote(f"/v1/disputes/{number}/decision", verdict, "S2")
    assert decided["facts"] == ["dispute-upheld.v1", "minutes-released.v1", "hours-reversed.v1"]
    assert (api.read(f"/v1/hours/{record}", "S1")["status"], held(api, anna)) == ("reversed", 0)
    row = api.read(f"/v1/disputes/{number}", anna.number)
    assert (row["status"], row["decided_by"], row["earner_heard"], row["recipient_heard"]) == (
        "upheld",
        "S2",
        True,
        True,
    )
    assert row["decision_text"] == verdict["text"]
    said = [(one["side"], one["stated_by"], one["ground"], one["text"]) for one in row["statements"]]
    assert said == [
        ("recipient", served.number, "not-served", "那天没有人来"),
        ("earner", anna.number, "served", "我在场"),
    ]
    with psycopg.connect(api.bank.address) as connection:
        like = f"dispute:{number}:%"
        kept = connection.execute("SELECT record, remark FROM vault_remarks WHERE record LIKE %s", (like,)).fetchall()
    digests = {one["text_digest"] for one in row["statements"]} | {row["decision_digest"]}
    assert {sha256(remark.encode()).hexdigest() for _, remark in kept} == digests
    assert {key.rpartition(":")[2] for key, _ in kept} == digests
    assert not digests & {sha256(words.encode()).hexdigest() for words in ("那天没有人来", "我在场", verdict["text"])}
    audited = api.read(f"/v1/disputes/{number}", "auditor")
    assert audited["decision_text"] is None
    assert [one["text"] for one in audited["statements"]] == [None, None]
    assert all(one["text_digest"] for one in audited["statements"])


def test_a_rejected_record_is_confirmed_after_all(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    record = settled(api, anna, served, "rejection")
    number = opened(api, record, anna.number, ground="served")
    api.wrote(f"/v1/disputes/{number}/statement", {"ground": "served", "side": "recipient"}, "S2")
    decided = api.wrote(f"/v1/disputes/{number}/decision", {"outcome": "upheld"}, "S2")
    assert decided["facts"] == ["dispute-upheld.v1", "hours-confirmed.v1"]
    row = api.read(f"/v1/hours/{record}", anna.number)
    assert (row["status"], row["credit_minutes"], row["reason"], row["settled_by"]) == ("confirmed", 60, None, "S2")


def test_a_dispute_is_taken_back_by_whoever_opened_it(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    record = settled(api, anna, served)
    number = opened(api, record, served.number)
    path = f"/v1/disputes/{number}/withdrawal"
    api.problem(api.post(path, None, "S2"), 403, "withdrawn-by-another")
    assert api.wrote(path, None, served.number)["facts"] == ["dispute-withdrawn.v1", "minutes-released.v1"]
    api.problem(api.post(path, None, served.number), 409, "dispute-closed")
    assert held(api, anna) == 0


def test_what_cannot_be_disputed_is_refused(api: Api) -> None:
    anna, served, stranger = (api.new_volunteer() for _ in range(3))
    waiting, record = api.logged(anna, hour=12), settled(api, anna, served)
    rejected = settled(api, anna, served, "rejection", hour=14)

    def post(by: str, **body: Any) -> Any:
        return api.post("/v1/disputes", {"record": record, "ground": "not-served"} | body, by)

    api.problem(post("S1", record="R-NONE"), 404, "unknown-record")
    api.problem(post(stranger.number), 404, "unknown-record")
    api.problem(post("S9"), 404, "unknown-record")
    api.problem(post(anna.number, record=waiting), 409, "record-not-disputable")
    api.problem(post(served.number, record=rejected, ground="served"), 409, "record-not-disputable")
    api.problem(post(anna.number, ground="served"), 422, "ground-not-fitting")
    api.problem(post(anna.number, side="recipient"), 403, "not-your-side")
    api.problem(post(anna.number, settled_at="2020-01-01T00:00:00Z"), 422, "invalid-request")
    number = opened(api, record, anna.number)
    api.problem(post(served.number), 409, "record-in-dispute")
    api.problem(post("S1", record=rejected, ground="served", dispute=number), 409, "dispute-already-opened")
    for step, body in (("statement", {"ground": "other"}), ("decision", {"outcome": "upheld"}), ("withdrawal", None)):
        api.problem(api.post(f"/v1/disputes/D-NONE/{step}", body, "S1"), 404, "unknown-dispute")
    api.problem(api.post(f"/v1/disputes/{number}/decision", {"outcome": "upheld"}, "S1"), 403, "decided-by-party")
    api.wrote(f"/v1/disputes/{number}/statement", {"ground": "not-served"}, served.number)
    api.wrote(f"/v1/disputes/{number}/decision", {"outcome": "dismissed"}, "S2")
    api.problem(post(served.number), 409, "record-dispute-decided")


def test_a_repeated_opening_is_answered_as_the_first_and_other_words_are_another(api: Api) -> None:
    anna, served = api.new_volunteer(), api.new_volunteer()
    body = {"record": settled(api, anna, served), "ground": "wrong-time", "text": "不是九点"}
    first = api.wrote("/v1/disputes", body, served.number, "once")
    again = api.post("/v1/disputes", body, served.number, "once")
    assert (again.status_code, again.json()["dispute"]) == (200, first["dispute"])
    other = api.post("/v1/disputes", body | {"text": "不是十点"}, served.number, "once")
    api.problem(other, 409, "command-id-reused")


def test_disputes_are_read_by_whom_they_concern(api: Api) -> None:
    anna, served, stranger = (api.new_volunteer() for _ in range(3))
    first, second = (opened(api, settled(api, anna, served, hour=hour), anna.number) for hour in (9, 11))
    api.wrote(f"/v1/disputes/{second}/withdrawal", None, anna.number)
    for reader in (anna.number, served.number, "S1", "S0", "auditor", "admin"):
        assert api.read(f"/v1/disputes/{first}", reader)["dispute"] == first
    for reader in (stranger.number, "S9"):
        api.problem(api.get(f"/v1/disputes/{first}", reader), 404, "unknown-dispute")

    def listed(by: str, **filters: Any) -> list[str]:
        page = api.read("/v1/disputes", by, limit=500, **filters)
        return [row["dispute"] for row in page["items"]]

    assert listed(anna.number) == listed(served.number) == [first, second]
    assert listed(anna.number, status="open") == [first]
    assert listed(anna.number, status="open", escalated=True) == []
    assert listed(stranger.number) == listed(anna.number, community=JINHU) == []
    assert {first, second} <= set(listed("S1")) == set(listed("S0", community=XINZHU))
    assert not {first, second} & set(listed("S9"))
    api.problem(api.get("/v1/disputes", "S9", community=XINZHU), 403, "outside-community")
    page = api.read("/v1/disputes", anna.number, limit=1)
    rest = api.read("/v1/disputes", anna.number, limit=1, after=page["next"])
    assert [page["items"][0]["dispute"], rest["items"][0]["dispute"], rest["next"]] == [first, second, None]


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────────


def test_silence_and_late_disputes_are_settled_when_they_are_due_and_once(open_bank: OpenBank) -> None:
    assert ACTOR.id == BY_TIME
    bank = open_bank(silence_days=5, dispute_decision_days=10, payer="pool", log_days_back_max=400)
    now = datetime.now(UTC)
    history = History(bank, 1)
    day = history.today - timedelta(days=1)
    claims = [
        LogHours(
            record=f"R{n}",
            volunteer=f"V{n}",
            recipient_household=f"H{n + 3}",
            service="助餐",
            started_at=day + timedelta(hours=9),
            ended_at=day + timedelta(hours=10),
        )
        for n in (1, 2)
    ]
    history.record_commands([(log, claim) for claim in claims])
    history.record_commands([(reject, RejectHours(record="R2", reason="other"))])
    dispute = OpenDispute(dispute="D1", record="R2", ground="served", settled_at=now)
    history.record_commands([(open_dispute, dispute)])

    def run(days: float) -> tuple[dict[str, int], dict[str, int]]:
        with projecting(bank) as projector:
            projector.catch_up()
        # The rules are told the same time as the search is.
        due = [kind for kind in DUE if kind.name in ("silence", "escalation")]
        moment = now + timedelta(days=days)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("api.due.Writer", lambda store, zone: Writer(store, zone, clock=lambda: moment))
            report = run_due(bank, moment, due)
        return report.done, report.refused

    assert run(4) == ({"silence": 0, "escalation": 0}, {"silence": 0, "escalation": 0})
    assert run(6) == ({"silence": 0, "escalation": 0}, {"silence": 1, "escalation": 0})  # nobody pays
    (pool,) = [known(bank.store, ServiceRecord.of("R1")).require().community]
    history.record_commands([(fund_pool, FundPool(community=pool, minutes=600))])
    assert run(11) == ({"silence": 1, "escalation": 1}, {"silence": 0, "escalation": 0})
    assert run(12) == ({"silence": 0, "escalation": 0}, {"silence": 0, "escalation": 0})
    record = known(bank.store, ServiceRecord.of("R1")).confirmed
    assert record is not None
    assert (record.confirmed_as, record.confirmed_by) == ("silence", BY_TIME)
    assert known(bank.store, Dispute.of("D1")).escalated


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────────


def race(bank: Timebank, commands: list[tuple[Any, Any, Actor]]) -> list[Any]:
    """Each command through a writer of its own, all at the same moment; their outcomes."""
    start = threading.Barrier(len(commands))

    def run(one: tuple[Any, Any, Actor]) -> Any:
        decide, command, actor = one
        ticket = Ticket(decide, command, actor, uuid4().hex)
        writer = Writer(bank.store, bank.zone)
        start.wait()
        writer.run([ticket])
        return ticket.outcome

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run, commands))


def contested(bank: Timebank, records: int, *, settle: bool = True) -> list[str]:
    """Records of V1's service in H2, half an hour each, that S1 confirmed or that still wait."""
    history = History(bank, 1)
    day = history.today - timedelta(days=1)
    numbers = [f"C{n}" for n in range(records)]
    claims = [
        LogHours(
            record=number,
            volunteer="V1",
            recipient_household="H2",
            service="助餐",
            started_at=day + timedelta(minutes=30 * n),
            ended_at=day + timedelta(minutes=30 * (n + 1)),
        )
        for n, number in enumerate(numbers)
    ]
    history.record_commands([(log, claim) for claim in claims])
    confirmations = [(confirm, ConfirmHours(record=number)) for number in numbers] if settle else []
    assert history.record_commands(confirmations) == len(confirmations)
    return numbers


def assert_held(bank: Timebank, records: list[str]) -> None:
    """V1's household has what was confirmed, and of it is held what is in dispute."""
    states = [known(bank.store, ServiceRecord.of(record)) for record in records]
    balance = sum(30 for state in states if state.status == "confirmed")
    held_minutes = sum(30 for state in states if state.status == "confirmed" and state.dispute is not None)
    assert known(bank.store, Account.of("household:H1")) == Account("household:H1", balance, held_minutes)


def staff(number: int) -> Actor:
    return Actor(f"Q{number}", "staff")


def test_of_sixteen_that_decide_one_dispute_exactly_one_does(open_bank: OpenBank) -> None:
    bank = open_bank()
    (record,) = contested(bank, 1)
    now = datetime.now(UTC)
    opening = OpenDispute(dispute="D1", record=record, ground="not-served", settled_at=now)
    statement = StateCase(dispute="D1", ground="served")
    (first,) = race(bank, [(open_dispute, opening, Actor("V2", "volunteer"))])
    (second,) = race(bank, [(state_case, statement, Actor("V1", "volunteer"))])
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    verdicts = [DecideDispute(dispute="D1", outcome="upheld" if n % 2 else "dismissed") for n in range(RACERS)]
    outcomes = race(bank, [(decide_dispute, verdict, staff(n)) for n, verdict in enumerate(verdicts)])
    assert Counter(type(outcome) for outcome in outcomes) == {Accepted: 1, DisputeClosed: RACERS - 1}
    account = known(bank.store, Account.of(household_account("H1")))
    upheld = known(bank.store, Dispute.of("D1")).status == "upheld"
    assert account == Account("household:H1", 0 if upheld else 30, 0)


def test_disputes_reversals_and_rejections_that_race_leave_every_record_in_one_state(open_bank: OpenBank) -> None:
    bank = open_bank()
    records = contested(bank, 4)
    now = datetime.now(UTC)
    member, other = Actor("V2", "volunteer"), Actor("V1", "volunteer")

    def opening(record: str, number: str) -> OpenDispute:
        return OpenDispute(dispute=number, record=record, ground="not-served", settled_at=now)

    gone: set[str] = set()
    for wave in range(3):
        commands: list[tuple[Any, Any, Actor]] = []
        for n, record in enumerate(records):
            number = f"D{n}-{wave}"
            commands += [
                (open_dispute, opening(record, number), member),
                (open_dispute, opening(record, number + "b"), other),
                (reverse, ReverseHours(record=record, reason="other"), staff(n)),
                (confirm, ConfirmHours(record=record), staff(n)),
            ]
        outcomes = race(bank, commands)
        assert all(isinstance(outcome, Accepted | Refusal) for outcome in outcomes)
        for n, record in enumerate(records):
            opened_first, opened_other, reversed_, confirmed = outcomes[4 * n : 4 * n + 4]
            winners = sum(isinstance(one, Accepted) for one in (opened_first, opened_other, reversed_))
            assert winners == (record not in gone)
            assert isinstance(confirmed, Refusal)
            state = known(bank.store, ServiceRecord.of(record))
            assert (state.dispute is None) == (state.status == "reversed")
            gone |= {record} if state.status == "reversed" else set()
        assert_held(bank, records)
        withdrawals = [
            (withdraw_dispute, WithdrawDispute(dispute=state.dispute), actor)
            for record in records
            if (state := known(bank.store, ServiceRecord.of(record))).dispute is not None
            for actor in (member, other)
        ]
        if withdrawals:
            race(bank, withdrawals)
    assert known(bank.store, Account.of("household:H1")).held_minutes == 0


def test_records_that_are_settled_and_disputed_at_once_are_settled_once_and_held_rightly(open_bank: OpenBank) -> None:
    bank = open_bank()
    records = contested(bank, 4, settle=False)
    commands: list[tuple[Any, Any, Actor]] = []
    for n, record in enumerate(records):
        opening = OpenDispute(dispute=f"D{n}", record=record, ground="wrong-time", settled_at=datetime.now(UTC))
        commands += [
            (confirm, ConfirmHours(record=record, rating=5), Actor("V2", "volunteer")),
            (confirm, ConfirmHours(record=record), staff(n)),
            (reject, RejectHours(record=record, reason="other"), staff(n)),
            (open_dispute, opening, Actor("V2", "volunteer")),
        ]
    outcomes = race(bank, commands)
    for n, record in enumerate(records):
        settling, dispute = outcomes[4 * n : 4 * n + 3], outcomes[4 * n + 3]
        assert sum(isinstance(one, Accepted) for one in settling) == 1
        assert all(isinstance(one, Accepted | Refusal) for one in (*settling, dispute))
        state = known(bank.store, ServiceRecord.of(record))
        assert (state.dispute is not None) == isinstance(dispute, Accepted)
        assert state.dispute is None or state.status == "confirmed"
    assert_held(bank, records)
