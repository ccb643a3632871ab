"""Disclosures over HTTP: a month is sealed, shown to everybody, objected to, corrected afterwards, and frozen."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from api.disclosure import checkpoint_size, disclosed, own_row, prepared, secret_key
from api.due import DUE, run_due
from api.wiring import Timebank, known
from application.write_loop import Accepted, Writer
from domain.checkpoint import Checkpoint
from domain.consent import GiveConsent, WithdrawConsent, give_consent, withdraw_consent
from domain.decision import Actor
from domain.disclosure import (
    Disclosure,
    FreezePeriod,
    PeriodAlreadyFrozen,
    PeriodAlreadySealed,
    freeze_period,
    next_period,
    seal_period,
    seals,
)
from domain.objection import ObjectionStillOpen, ObjectionTooLate, RaiseObjection, raise_objection
from domain.published_list import Listed, list_sha256
from infrastructure.signing import create_key
from infrastructure.vault import forget
from tests.api.processes import answer
from tests.api.racing import race, won
from tests.api.service import JINHU, XINZHU, Api, Volunteer, register_places, serving
from tests.controls import TIME
from tests.projections.history import projecting

OpenBank = Callable[..., Timebank]
RACERS = 16


def month(bank: Timebank, back: int = 1) -> str:
    """The last whole month, or one before it."""
    day = datetime.now(bank.zone).date().replace(day=1)
    for _ in range(back):
        day = (day - timedelta(days=1)).replace(day=1)
    return f"{day:%Y-%m}"


def days_ago(bank: Timebank, period: str, day: int = 12) -> int:
    return (datetime.now(bank.zone).date() - date.fromisoformat(f"{period}-{day:02}")).days


@pytest.fixture
def api(open_bank: OpenBank) -> Iterator[Api]:
    """A ledger of its own, in which three are enough to be published, and services are logged for months back."""
    bank = open_bank(log_days_back_max=400, disclosure_count_min=3)
    with serving(bank) as api:
        register_places(api)
        yield api


def served(api: Api, earner: Volunteer, recipient: Volunteer, period: str, **changes: Any) -> str:
    """An hour that was given in that month, logged and confirmed now."""
    ago = days_ago(api.bank, period, changes.pop("day", 12))
    record = api.logged(earner, recipient_household=recipient.household, days_ago=ago, **changes)
    api.wrote(f"/v1/hours/{record}/confirmation", None, "S0")
    return record


def people(api: Api, count: int, community: str = XINZHU) -> list[Volunteer]:
    return [api.new_volunteer(community) for _ in range(count)]


def ring(api: Api, members: list[Volunteer], period: str, **changes: Any) -> list[str]:
    """Each serves the next one for an hour, and the tables have it."""
    pairs = zip(members, [*members[1:], members[0]], strict=True)
    records = [served(api, one, other, period, **changes) for one, other in pairs]
    api.read("/v1/figures")
    return records


def sealed(api: Api, period: str) -> dict[str, Any]:
    return api.wrote("/v1/disclosures", {"period": period}, "admin")


# ── Sealing and reading ──────────────────────────────────────────────────────────────────────────────────────


def test_a_month_is_sealed_and_everybody_reads_what_it_came_to(api: Api) -> None:
    period = month(api.bank)
    four = people(api, 4)
    ring(api, four, period)
    ring(api, four[:3], month(api.bank, 2))
    waiting = api.logged(four[0], recipient_household=four[1].household, days_ago=days_ago(api.bank, period, 13))
    for one in four:
        api.wrote(f"/v1/volunteers/{one.number}/consent", None, one.number)
    head = api.bank.store.head()
    written = sealed(api, period)
    assert (written["facts"], written["period"], written["watermark"]) == (["period-sealed.v1"], period, head)
    found = api.read(f"/v1/disclosures/{period}")
    assert {
        name: found[name]
        for name in ("status", "watermark", "households_served", "service_minutes", "service_records", "count_min")
    } == {
        "status": "open",
        "watermark": head,
        "households_served": 4,
        "service_minutes": 240,
        "service_records": 4,
        "count_min": 3,
    }
    assert found["by_community"] == [
        {"key": XINZHU, "volunteers": 4, "households_served": 4, "service_minutes": 240, "service_records": 4}
    ]
    assert [group["key"] for group in found["by_service"]] == ["助餐"]
    rows = found["listed"]["rows"]
    assert [(row["community"], row["minutes_from"], row["minutes_below"]) for row in rows] == [(XINZHU, 0, 120)] * 4
    assert found["listed"]["withheld"] == []
    hashes = [msgspec.convert(row, Listed).sha256() for row in rows]
    assert list_sha256(hashes) == found["listed"]["sha256"]
    assert (found["late"]["changes"], found["objections"], found["undecided"]) == (0, [], None)
    text = str(found)
    assert not [one for one in four if one.number in text or one.household in text]
    assert waiting not in text
    items = api.read("/v1/disclosures")["items"]
    assert [(item["period"], item["service_minutes"]) for item in items] == [(period, 240)]
    api.problem(api.get(f"/v1/disclosures/{month(api.bank, 2)}"), 404, "unknown-disclosure")
    api.problem(api.get("/v1/disclosures/2026-13"), 422, "invalid-request")


def test_who_seals_is_of_the_whole_district_and_the_month_is_the_next_and_over(api: Api) -> None:
    period = month(api.bank, 2)
    body = {"period": period}
    api.problem(api.post("/v1/disclosures", body), 401, "unauthorized")
    api.problem(api.post("/v1/disclosures", body, "auditor"), 403, "role-not-allowed")
    api.problem(api.post("/v1/disclosures", body, "S1"), 403, "sealed-for-district")
    api.problem(api.post("/v1/disclosures", {"period": month(api.bank, 0)}, "S0"), 422, "period-not-over")
    assert not api.post("/v1/disclosures", body, "S0", "key").json()["repeated"]
    assert api.post("/v1/disclosures", body, "S0", "key").json()["repeated"]
    api.problem(api.post("/v1/disclosures", body, "S0"), 409, "period-already-sealed")
    api.problem(api.post("/v1/disclosures", {"period": month(api.bank, 4)}, "S0"), 422, "period-not-next")
    sealed(api, next_period(period))
    api.problem(api.post("/v1/disclosures", {"period": "2026-1"}, "S0"), 422, "invalid-request")


def test_what_came_after_the_seal_is_late_keeps_its_date_and_is_the_next_months_correction(api: Api) -> None:
    period, later = month(api.bank, 2), month(api.bank)
    four = people(api, 4)
    records = ring(api, four, period)
    sealed(api, period)
    before = api.read(f"/v1/disclosures/{period}")
    ring(api, four, period, hour=14)
    api.wrote(f"/v1/hours/{records[0]}/reversal", {"reason": "wrong-time"}, "S2")
    ring(api, four[:3], later)
    found = api.read(f"/v1/disclosures/{period}")
    assert found["late"] == {"changes": 5, "change_minutes": 180, "change_records": 3}
    assert {name: found[name] for name in before if name not in ("late", "position")} == {
        name: before[name] for name in before if name not in ("late", "position")
    }
    late = api.read(f"/v1/disclosures/{period}/late-entries")
    assert late["withheld"] == 0
    changes = [(item["change"], item["change_minutes"], item["logged_late"]) for item in late["items"]]
    assert changes == [("confirmed", 60, True)] * 4 + [("reversed", -60, False)]
    assert late["items"][-1]["reason"] == "wrong-time"
    assert not [one for one in four if one.number in str(late)]
    assert not [record for record in records if record in str(late)]
    first = api.read(f"/v1/disclosures/{period}/late-entries", limit=2)
    rest = api.read(f"/v1/disclosures/{period}/late-entries", after=first["next"])
    assert [*first["items"], *rest["items"]] == late["items"]
    sealed(api, later)
    after = api.read(f"/v1/disclosures/{later}")
    assert (after["service_minutes"], after["corrected_minutes"], after["corrected_records"]) == (180, 180, 3)
    api.problem(api.get("/v1/disclosures/2020-01/late-entries"), 404, "unknown-disclosure")


def test_what_concerns_too_few_is_not_listed(api: Api) -> None:
    period = month(api.bank)
    two, three = people(api, 2), people(api, 3, JINHU)
    ring(api, two, period)
    ring(api, three, period)
    for one in (*two, *three):
        api.wrote(f"/v1/volunteers/{one.number}/consent", None, one.number)
    sealed(api, period)
    served(api, two[0], two[1], period, hour=15)
    found = api.read(f"/v1/disclosures/{period}")
    # Two are too few, and would be the rest of three: so all five are one group.
    assert [(group["key"], group["volunteers"]) for group in found["by_community"]] == [("", 5)]
    assert [row["community"] for row in found["listed"]["rows"]] == [JINHU] * 3
    late = api.read(f"/v1/disclosures/{period}/late-entries")
    assert (late["items"], late["withheld"], late["next"]) == ([], 1, None)
    assert api.read(f"/v1/disclosures/{period}/own", two[0].number)["why"].startswith("与您情况相同")


# ── Consent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_who_consents_is_listed_and_who_withdraws_is_left_out_at_once(api: Api) -> None:
    period = month(api.bank)
    five = people(api, 5)
    ring(api, five, period)
    for one in five[:4]:
        api.wrote(f"/v1/volunteers/{one.number}/consent", None, one.number)
    sealed(api, period)
    api.wrote(f"/v1/volunteers/{five[4].number}/consent", {"paper_sha256": "ab" * 32}, "S1")
    listed = api.read(f"/v1/disclosures/{period}")["listed"]
    own = [api.read(f"/v1/disclosures/{period}/own", one.number) for one in five]
    assert [one["listed"] for one in own] == [True] * 4 + [False]
    assert own[4]["why"].startswith("封存时您没有同意")
    assert {row["pseudonym"] for row in listed["rows"]} == {one["pseudonym"] for one in own[:4]}
    assert [(one["service_minutes"], one["service_records"]) for one in own] == [(60, 1)] * 5

    api.wrote(f"/v1/volunteers/{five[0].number}/consent/withdrawal", None, five[0].number)
    left = api.read(f"/v1/disclosures/{period}")["listed"]
    assert {row["pseudonym"] for row in left["rows"]} == {one["pseudonym"] for one in own[1:4]}
    assert len(left["withheld"]) == 1
    kept = [msgspec.convert(row, Listed).sha256() for row in left["rows"]]
    assert list_sha256([*kept, *map(bytes.fromhex, left["withheld"])]) == left["sha256"] == listed["sha256"]
    assert api.read(f"/v1/disclosures/{period}/own", five[0].number)["why"].startswith("您已撤回同意")

    # Now three are left, and with one less they would be too few.
    api.wrote(f"/v1/volunteers/{five[1].number}/consent/withdrawal", None, five[1].number)
    none = api.read(f"/v1/disclosures/{period}")["listed"]
    assert (none["rows"], len(none["withheld"]), none["sha256"]) == ([], 4, listed["sha256"])


def test_consent_is_given_by_oneself_and_read_by_whom_it_concerns(api: Api) -> None:
    anna, other = people(api, 2)
    path = f"/v1/volunteers/{anna.number}/consent"
    api.problem(api.post(path, None, other.number), 403, "consent-of-another")
    api.problem(api.post(path, {}, "S1"), 422, "consent-needs-paper")
    api.problem(api.post(path, {"paper_sha256": "ab" * 32}, "S9"), 404, "unknown-member")
    api.problem(api.post(f"{path}/withdrawal", None, anna.number), 409, "consent-not-given")
    assert api.wrote(path, {"paper_sha256": "ab" * 32}, "S1")["facts"] == ["consent-given.v1"]
    api.problem(api.post(path, None, anna.number), 409, "consent-already-given")
    assert api.wrote(f"{path}/withdrawal", None, anna.number)["facts"] == ["consent-withdrawn.v1"]
    api.wrote(path, None, anna.number)
    for reader in (anna.number, "S1", "S0", "auditor", "admin"):
        found = api.read(path, reader)
        assert found["given"]
        assert [item["recorded_by"] for item in found["items"]] == [anna.number, "S1"]
        assert [item["withdrawn_by"] for item in found["items"]] == [None, anna.number]
    for reader in (other.number, "S9"):
        api.problem(api.get(path, reader), 404, "unknown-member")


def test_pseudonyms_differ_by_month_and_their_secret_is_not_in_the_journal(api: Api) -> None:
    earlier, later = month(api.bank, 2), month(api.bank)
    three = people(api, 3)
    for period in (earlier, later):
        ring(api, three, period)
    for one in three:
        api.wrote(f"/v1/volunteers/{one.number}/consent", None, one.number)
    for period in (earlier, later):
        sealed(api, period)
    names = [{row["pseudonym"] for row in api.read(f"/v1/disclosures/{p}")["listed"]["rows"]} for p in (earlier, later)]
    assert [len(one) for one in names] == [3, 3]
    assert not names[0] & names[1]
    with psycopg.connect(api.bank.address) as connection:
        stored = b"".join(data for (data,) in connection.execute("SELECT data FROM facts"))
        kept = dict(
            connection.execute(
                "SELECT record, remark FROM vault_remarks WHERE ledger = %s AND record LIKE 'disclosure:%%'",
                (api.bank.name,),
            ).fetchall()
        )
        assert set(kept) == {secret_key(earlier), secret_key(later)}
        assert all(len(bytes.fromhex(secret)) == 32 for secret in kept.values())
        assert not [secret for secret in kept.values() if secret.encode() in stored or bytes.fromhex(secret) in stored]
        forget(connection, api.bank.name, [secret_key(earlier)])
    # Once it is erased nobody can tell any more who was who, and the figures stand as they are.
    found = disclosed(api.bank, earlier)
    assert (found["listed"]["rows"], found["service_minutes"]) == ([], 180)
    own = own_row(api.bank, earlier, three[0].number)
    assert (own["pseudonym"], own["listed"]) == (None, False)


# ── Objections ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_objection_is_raised_read_by_whom_it_concerns_and_decided(api: Api) -> None:
    period = month(api.bank)
    anna, served_, stranger = people(api, 3)
    record = served(api, anna, served_, period)
    sealed(api, period)
    path = f"/v1/disclosures/{period}/objections"
    body = {"ground": "hours-wrong", "record": record, "text": "只有半小时"}
    written = api.wrote(path, body, served_.number, "once")
    number = written["objection"]
    again = api.post(path, body, served_.number, "once")
    assert (again.status_code, again.json()["objection"]) == (200, number)
    api.problem(api.post(path, body | {"text": "别的"}, served_.number, "once"), 409, "command-id-reused")
    api.problem(api.post(path, body, served_.number), 409, "objection-still-open")
    assert api.read(f"/v1/disclosures/{period}")["objections"] == [
        {"ground": "hours-wrong", "raised": 1, "open": 1, "upheld": 0, "dismissed": 0, "withdrawn": 0}
    ]
    for reader in (served_.number, "S1", "S0", "admin"):
        assert api.read(f"{path}/{number}", reader)["text"] == "只有半小时"
        assert [row["objection"] for row in api.read(path, reader)["items"]] == [number]
    audited = api.read(f"{path}/{number}", "auditor")
    assert audited["text"] is None
    assert len(audited["text_digest"]) == 64
    for reader in (stranger.number, anna.number, "S9"):
        api.problem(api.get(f"{path}/{number}", reader), 404, "unknown-objection")
        assert api.read(path, reader)["items"] == []
    api.problem(api.get(path, "S9", community=XINZHU), 403, "outside-community")
    queue = api.read("/v1/queues/objections", "S1")["items"]
    assert [(row["objection"], row["period"], row["ground"]) for row in queue] == [(number, period, "hours-wrong")]
    assert api.read("/v1/queues/objections", "S9")["items"] == []

    verdict = {"outcome": "upheld", "text": "签到表为半小时"}
    for party in ("admin", "S0"):  # who sealed the month, and who confirmed the record
        api.problem(api.post(f"{path}/{number}/decision", verdict, party), 403, "objection-decided-by-party")
    api.problem(api.post(f"{path}/{number}/decision", verdict, "S9"), 404, "unknown-objection")
    assert api.wrote(f"{path}/{number}/decision", verdict, "S2")["facts"] == ["objection-upheld.v1"]
    api.problem(api.post(f"{path}/{number}/decision", verdict, "S2"), 409, "objection-settled")
    row = api.read(f"{path}/{number}", served_.number)
    assert (row["status"], row["decided_by"], row["decision_text"]) == ("upheld", "S2", "签到表为半小时")
    with psycopg.connect(api.bank.address) as connection:
        stored = b"".join(data for (data,) in connection.execute("SELECT data FROM facts"))
    assert "半小时".encode() not in stored
    assert hashlib.sha256("只有半小时".encode()).hexdigest().encode() not in stored


def test_what_cannot_be_objected_to_is_refused(api: Api) -> None:
    period = month(api.bank)
    anna, served_, stranger = people(api, 3)
    record = served(api, anna, served_, period)
    other = served(api, anna, served_, month(api.bank, 2))
    path = f"/v1/disclosures/{period}/objections"
    api.problem(api.post(path, {"ground": "other"}, anna.number), 404, "unknown-disclosure")
    sealed(api, period)

    def post(by: str, **body: Any) -> Any:
        return api.post(path, {"ground": "other"} | body, by)

    api.problem(post("auditor"), 403, "role-not-allowed")
    api.problem(post("S1"), 404, "unknown-member")
    api.problem(post("S9", person=anna.number), 404, "unknown-member")
    api.problem(post(anna.number, person=served_.number), 403, "objection-of-another")
    api.problem(post(stranger.number, record=record), 404, "unknown-record")
    api.problem(post(anna.number, record=other), 422, "record-outside-period")
    api.problem(post(anna.number, ground="boredom"), 422, "invalid-request")
    number = api.wrote(path, {"ground": "other", "person": anna.number, "objection": "B1"}, "S1")["objection"]
    api.problem(post(served_.number, objection=number), 409, "objection-already-raised")
    api.problem(api.post(f"{path}/{number}/withdrawal", None, "S2"), 403, "objection-withdrawn-by-another")
    api.problem(api.post(f"{path}/{number}/withdrawal", None, stranger.number), 404, "unknown-objection")
    assert api.wrote(f"{path}/{number}/withdrawal", None, anna.number)["facts"] == ["objection-withdrawn.v1"]
    api.problem(api.post(f"{path}/B9/decision", {"outcome": "upheld"}, "S2"), 404, "unknown-objection")


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_frozen_when_its_time_is_over_and_once(api: Api) -> None:
    bank, period = api.bank, month(api.bank)
    (anna,) = people(api, 1)
    sealed(api, period)
    api.wrote(f"/v1/disclosures/{period}/objections", {"ground": "other"}, anna.number)
    until = known(bank.store, Disclosure.of(period)).require().objections_until

    def run(moment: datetime) -> int:
        with projecting(bank) as projector:
            projector.catch_up()
        due = [kind for kind in DUE if kind.name == "disclosures frozen"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("api.due.Writer", lambda store, zone: Writer(store, zone, clock=lambda: moment))
            report = run_due(bank, moment, due)
        assert report.refused == {"disclosures frozen": 0}
        return report.done["disclosures frozen"]

    assert [run(until - timedelta(seconds=1)), run(until)] == [0, 0]  # one objection waits
    last = until + timedelta(days=15)
    assert [run(last - timedelta(seconds=1)), run(last), run(last)] == [0, 1, 0]
    found = api.read(f"/v1/disclosures/{period}")
    assert (found["status"], found["undecided"]) == ("frozen", 1)
    assert found["frozen_on"] == datetime.now(bank.zone).date().isoformat()
    api.problem(
        api.post(f"/v1/disclosures/{period}/objections", {"ground": "other"}, anna.number), 422, "objection-too-late"
    )


def test_a_month_is_counted_up_to_a_checkpoint_that_is_signed(api: Api, tmp_path: Path) -> None:
    bank = api.bank
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data"})
    create_key(bank.settings.data, bank.name)
    ring(api, people(api, 3), month(bank))
    head = bank.store.head()
    watermark = sealed(api, month(bank))["watermark"]
    assert watermark == head
    signed = api.get(f"/v1/log/checkpoints/{watermark}")
    assert (signed.status_code, Checkpoint.of_note(signed.text).size) == (200, watermark)


def test_a_log_that_is_damaged_keeps_no_month_from_being_disclosed(api: Api, tmp_path: Path) -> None:
    bank = api.bank
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data"})
    create_key(bank.settings.data, bank.name)
    ring(api, people(api, 3), month(bank))
    checkpoint_size(bank)
    with psycopg.connect(bank.owner_address) as connection:
        connection.execute("UPDATE log_heads SET size = size + 1 WHERE ledger = %s", (bank.name,))
    assert checkpoint_size(bank) == 0
    assert sealed(api, month(bank))["watermark"] == bank.store.head() - 1


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loops", [1, 4])
def test_of_two_seals_of_a_month_exactly_one_is_recorded(api: Api, loops: int) -> None:
    bank, period = api.bank, month(api.bank)
    ring(api, people(api, 3), period)
    with projecting(bank) as projector:
        projector.catch_up()
    commands = [(seal_period, prepared(bank, period), Actor(f"D{n}", "admin")) for n in range(RACERS)]
    outcomes = race(bank, loops, commands)
    assert won(outcomes) == 1
    assert [one for one in outcomes if not isinstance(one, Accepted)] == [PeriodAlreadySealed(period)] * (RACERS - 1)
    assert known(bank.store, seals).last == known(bank.store, Disclosure.of(period)).sealed


def test_of_many_objections_of_one_person_exactly_one_is_open(api: Api) -> None:
    bank, period = api.bank, month(api.bank)
    (anna,) = people(api, 1)
    sealed(api, period)
    raising = [RaiseObjection(period=period, objection=f"B{n}", ground="other") for n in range(RACERS)]
    outcomes = race(bank, 4, [(raise_objection, one, Actor(anna.number, "volunteer")) for one in raising])
    assert won(outcomes) == 1
    (number,) = known(bank.store, Disclosure.of(period)).undecided
    lost = [one for one in outcomes if not isinstance(one, Accepted)]
    assert lost == [ObjectionStillOpen(period, number)] * (RACERS - 1)


def test_nothing_is_objected_to_once_it_is_frozen_whoever_is_first(api: Api) -> None:
    bank, period = api.bank, month(api.bank)
    residents = people(api, RACERS)
    sealed(api, period)
    until = known(bank.store, Disclosure.of(period)).require().objections_until
    raising: list[Any] = [
        (raise_objection, RaiseObjection(period=period, ground="other"), Actor(one.number, "volunteer"))
        for one in residents
    ]
    with pytest.MonkeyPatch.context() as patch:
        # Half of the racers' clocks are past the end: the journal decides who came first, not the clock.
        moments = iter([datetime.now(UTC), until])
        patch.setattr(
            "tests.api.racing.Writer", lambda store, zone: Writer(store, zone, clock=repeat(next(moments)).__next__)
        )
        outcomes = race(
            bank,
            2,
            [raising[n] if n % 2 == 0 else (freeze_period, FreezePeriod(period=period), TIME) for n in range(RACERS)],
        )
    state = known(bank.store, Disclosure.of(period))
    raised = sum(isinstance(one, Accepted) for one in outcomes[::2])
    frozen = sum(isinstance(one, Accepted) for one in outcomes[1::2])
    assert (frozen, len(state.objections)) in {(1, 0), (0, raised)}
    assert state.frozen == bool(frozen)
    assert {type(one) for one in outcomes[::2]} <= {Accepted, ObjectionTooLate}
    assert PeriodAlreadyFrozen(period) in outcomes or not frozen


def test_consent_is_given_once_however_many_give_it(api: Api) -> None:
    (anna,) = people(api, 1)
    me = Actor(anna.number, "volunteer")
    given = race(api.bank, 4, [(give_consent, GiveConsent(person=anna.number), me)] * RACERS)
    withdrawn = race(api.bank, 4, [(withdraw_consent, WithdrawConsent(person=anna.number), me)] * RACERS)
    assert (won(given), won(withdrawn)) == (1, 1)


# ── On the command line ──────────────────────────────────────────────────────────────────────────────────────


def test_the_command_seals_and_shows(api: Api) -> None:
    bank, period = api.bank, month(api.bank)
    ring(api, people(api, 3), period)
    settings = {
        "TIMEBANK_DATABASE_URL": bank.settings.database_url.get_secret_value(),  # type: ignore[union-attr]
        "TIMEBANK_LEDGER": bank.name,
    }
    done = answer("disclose", "--period", period, **settings, TIMEBANK_TOKEN=api.tokens["S0"])
    assert (done["period"], done["service_minutes"], done["status"]) == (period, 180, "open")
    assert answer("disclosure", "--period", period, **settings) == done
    assert [item["period"] for item in answer("disclosure", **settings)["items"]] == [period]
    late = answer("disclosure", "--period", period, "--late", **settings)
    assert (late["items"], late["withheld"]) == ([], 0)
