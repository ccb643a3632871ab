"""The scenes of the sample district, played on PostgreSQL after the import: all that the ledger can record is in them,
the sample's figures keep their promise, and whoever tries the demo out finds something to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.demo_command import DEMO_POLICY
from api.notifier import write_news
from api.scenes import NEIGHBOUR, NoSampleHistory, play_scenes
from api.wiring import Timebank, timebank
from application.redecision import Redecision
from application.replay import replay
from application.sample import SampleSummary
from application.sample_scenes import CANTEEN, NAMES, TO_COLLECT
from application.scenes import Played, SceneInRealLedger, redemption_code
from domain.account import BalancePaidIn, BalanceTakenAlong
from domain.certificate import CertificateIssued
from domain.fact import Fact
from domain.facts import FACTS
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from domain.recognition import StarAwarded
from infrastructure.fact_store import recorded_of
from tests.api.processes import answer
from tests.api.service import XINZHU, Api, serving
from tests.conftest import FIRST_DAY, assert_conserved, settings_for

Sample = tuple[Path, SampleSummary]
VISITOR = "V00001"


@contextmanager
def bank_at(address: str, data: Path, ledger: str = "qingxiu") -> Iterator[Timebank]:
    with timebank(settings_for(address, ledger).model_copy(update={"data": data})) as bank:
        yield bank


def fold(bank: Timebank) -> None:
    bank.catch_up()


def played(bank: Timebank, now: datetime | None = None, seed: int = 7) -> Played:
    fold(bank)
    done = play_scenes(bank, VISITOR, DEMO_POLICY, now or datetime.now(UTC), seed)
    fold(bank)
    return done


def facts_of(bank: Timebank) -> list[Fact]:
    return [recorded.envelope.fact for batch in bank.store.scan() for recorded in batch]


@pytest.fixture
def bank(sample_url: str, tmp_path: Path) -> Iterator[Timebank]:
    """The small district, with all scenes played."""
    with bank_at(sample_url, tmp_path) as opened:
        assert played(opened).refused == []
        yield opened


# ── What is in the ledger ────────────────────────────────────────────────────────────────────────────────────────


def test_the_sample_district_uses_every_type_of_fact_there_is(bank: Timebank) -> None:
    types = {fact.type for fact in facts_of(bank)}
    assert (set(FACTS) - types, types - set(FACTS)) == (set(), set())


def test_every_fact_of_the_sample_district_is_decided_again_without_a_finding(bank: Timebank) -> None:
    """All types of facts there are, few at a time and all at once. Hardly a state is remembered, so that nearly all are
    folded again from theirs."""
    for facts in (100, 100_000):
        redecision = Redecision(bank.store.at, states_max=500)
        for batch in bank.store.journal.scan(batch=facts):
            redecision.fold([*map(recorded_of, batch)])
        redecision.close()
        assert redecision.findings.found == []
        assert (redecision.position, redecision.undecided) == (bank.store.head(), 0)


def test_the_figures_keep_the_promise_of_the_files(bank: Timebank, sample: Sample) -> None:
    _, summary = sample
    figures = replay(bank.store).counted().figures
    assert figures.households_served == summary.households_served == 20
    with bank.reading() as connection:
        ((records, minutes),) = connection.execute(
            "SELECT count(*), sum(service_minutes) FROM hours WHERE status = 'confirmed' AND NOT imported"
        ).fetchall()
        ((reversed_,),) = connection.execute(
            "SELECT count(*) FROM hours WHERE imported AND reversed_by LIKE 'S%' AND reason <> 'imported'"
        ).fetchall()
    assert figures.service_minutes == summary.service_minutes + minutes
    assert figures.service_records == summary.confirmed + records
    assert (records > 5, reversed_) == (True, 0)


def test_replay_equals_the_projections_and_no_minute_is_made_or_lost(
    bank: Timebank, sample_url: str, tmp_path: Path
) -> None:
    assert_conserved(bank)
    replayed = answer("replay", TIMEBANK_DATABASE_URL=sample_url, TIMEBANK_DATA=tmp_path)
    assert (replayed["differences"], replayed["conserved"], replayed["total_minutes"]) == ([], True, 0)


def test_recorded_at_is_the_journals_own_and_decided_at_the_scenes(bank: Timebank) -> None:
    scenes = [r for batch in bank.store.scan() for r in batch if not r.envelope.imported][2:]
    now = datetime.now(UTC)
    for recorded in scenes:
        recorded_at = datetime.fromtimestamp(recorded.recorded_at_microseconds / 1e6, UTC)
        assert timedelta(0) <= now - recorded_at < timedelta(minutes=10)
        assert recorded.envelope.decided_at < recorded_at
        assert (now - recorded.envelope.decided_at).days <= 30


def test_both_ledgers_tell_the_same_of_who_came_from_next_door(bank: Timebank, sample_url: str, tmp_path: Path) -> None:
    (paid_in,) = [fact for fact in facts_of(bank) if isinstance(fact, BalancePaidIn)]
    (left,) = [fact for fact in facts_of(bank) if isinstance(fact, BalanceTakenAlong)]
    with bank_at(sample_url, tmp_path, NEIGHBOUR) as neighbour:
        assert neighbour.opened.synthetic
        (taken,) = [fact for fact in facts_of(neighbour) if isinstance(fact, BalanceTakenAlong)]
        assert replay(neighbour.store).total_minutes == 0
    assert (taken.target, taken.statement, taken.minutes) == ("ledger:qingxiu", paid_in.statement, paid_in.minutes)
    assert left.target == paid_in.source == f"ledger:{NEIGHBOUR}"


def test_certificates_and_stars_are_what_the_journal_holds_and_certificates_can_be_verified(
    bank: Timebank, sample_url: str, tmp_path: Path
) -> None:
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": tmp_path}
    recounted = answer("certificate", "recount", **settings)
    # One star was made due by the imported hours, and one was won and lost.
    assert (recounted["certificates"], recounted["stars"], recounted["differences"]) == (2, 3, [])
    issued = [fact for fact in facts_of(bank) if isinstance(fact, CertificateIssued)]
    shown = [answer("certificate", "show", fact.certificate, **settings) for fact in issued]
    assert [one["volunteer"] for one in shown] == ["VS-NURSE", "VS-DRIVER"]
    assert [fact.certificate[4:] for fact in issued] == ["-000001", "-000002"]
    assert [one["revoked_at_microseconds"] is not None for one in shown] == [False, True]


def test_disclosures_and_samples_are_what_the_journal_gives_again(
    bank: Timebank, sample_url: str, tmp_path: Path
) -> None:
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": tmp_path}
    recounted = answer("disclosure", "--recount", **settings)
    assert (recounted["seals"], recounted["lists"], recounted["differences"]) == (2, 2, [])
    checked = answer("audit", "sample", "--check", **settings)
    assert (checked["samples"], checked["differences"]) == (1, [])
    assert recounted["position"] == checked["position"] == bank.store.head()
    earlier, later = (item["status"] for item in answer("disclosure", **settings)["items"])
    assert (earlier, later) == ("frozen", "open")


# ── Playing again ────────────────────────────────────────────────────────────────────────────────────────────────


def test_playing_again_adds_nothing_whatever_the_day(bank: Timebank) -> None:
    head = bank.store.head()
    again = played(bank)
    much_later = played(bank, datetime.now(UTC) + timedelta(days=40))
    assert bank.store.head() == head
    assert (again.recorded, again.refused) == (much_later.recorded, much_later.refused) == (0, [])
    assert again.repeated == much_later.repeated > 200


class Killed(BaseException):
    pass


@pytest.mark.parametrize("appends", [2, 9, 25])
def test_a_run_that_is_killed_is_completed_on_another_day(
    sample_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appends: int
) -> None:
    now = datetime.now(UTC)
    with bank_at(sample_url, tmp_path) as bank:
        fold(bank)
        append, left = bank.store.append, [appends]

        def dying(*arguments: Any) -> tuple[int, int]:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return append(*arguments)

        monkeypatch.setattr(bank.store, "append", dying)
        with pytest.raises(Killed):
            played(bank, now)
        monkeypatch.undo()
        head = bank.store.head()
        completed = played(bank, now + timedelta(days=2))
        assert (completed.refused, completed.repeated > 0, completed.recorded > 100) == ([], True, True)
        assert bank.store.head() > head
        assert {fact.type for fact in facts_of(bank)} == set(FACTS)
        assert played(bank, now + timedelta(days=3)).recorded == 0


def test_another_seed_changes_codes_and_hashes_alone(bank: Timebank) -> None:
    """The commands that hold none are recorded already; the others are told apart by their content, and refused."""
    again = played(bank, seed=8)
    assert again.recorded == 0
    assert {scene for scene, _ in again.refused} == {
        "a_lamp_is_mended",
        "hours_of_every_kind",
        "a_group_serves",
        "paper_is_keyed_by_two",
        "minutes_are_redeemed",
        "service_is_recognised",
        "months_are_disclosed",
    }


# ── Where they don't belong ──────────────────────────────────────────────────────────────────────────────────────


def test_no_scene_enters_a_real_ledger_nor_opens_another_one(ledgers_url: str, tmp_path: Path) -> None:
    settings = settings_for(ledgers_url, "earnest").model_copy(update={"data": tmp_path})
    with timebank(settings, OpenLedger(name="真实账本"), AdoptPolicy(effective_on=FIRST_DAY)) as bank:
        fold(bank)
        with pytest.raises(SceneInRealLedger, match="真实账本"):
            play_scenes(bank, VISITOR, DEMO_POLICY, datetime.now(UTC))
        assert bank.store.head() == 2
    assert list(tmp_path.iterdir()) == []
    status = answer("db", "status", TIMEBANK_DATABASE_URL=ledgers_url, TIMEBANK_LEDGER="earnest")
    assert NEIGHBOUR not in status["ledgers"]


def test_a_ledger_without_the_sample_has_no_cast(ledgers_url: str, tmp_path: Path) -> None:
    settings = settings_for(ledgers_url, "empty").model_copy(update={"data": tmp_path})
    opening = OpenLedger(name="空的合成账本", synthetic=True)
    with timebank(settings, opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank:
        fold(bank)
        with pytest.raises(NoSampleHistory, match="空的合成账本"):
            play_scenes(bank, VISITOR, DEMO_POLICY, datetime.now(UTC))
        assert bank.store.head() == 2


# ── What a visitor finds ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def api(bank: Timebank) -> Iterator[Api]:
    with serving(bank) as api:
        for role, person, community in (
            ("volunteer", VISITOR, None),
            ("staff", "S0101", XINZHU),
            ("partner", CANTEEN, None),
        ):
            api.tokens[role] = api.new_token(person, role, community)  # type: ignore[arg-type]
        yield api


def test_a_volunteer_finds_requests_an_appointment_a_dispute_and_a_reward_to_collect(api: Api) -> None:
    found = api.read("/v1/requests/open", "volunteer")["items"]
    assert {item["request"] for item in found} >= {"QS-MEAL", "QS-TALK", "QS-BATH", "QS-NEAR"}
    assert [item["request"] for item in found if item["offered"]] == ["QS-NEAR"]
    disputes = api.read("/v1/disputes", "volunteer")["items"]
    assert [(d["dispute"], d["status"], d["earner_heard"]) for d in disputes] == [("DS-VISITOR", "open", False)]
    api.wrote("/v1/disputes/DS-VISITOR/statement", {"ground": "served"}, "volunteer")
    (reservation,) = api.read("/v1/reservations", "volunteer")["items"]
    assert (reservation["reservation"], reservation["status"]) == (TO_COLLECT, "reserved")


def test_people_are_told_of_what_the_scenes_did_and_nobody_of_the_import(bank: Timebank) -> None:
    with psycopg.connect(bank.address, autocommit=True) as connection:
        while write_news(bank, connection, ()):
            pass
        rows = connection.execute("SELECT recipient, kind FROM notices WHERE ledger = %s", (bank.name,)).fetchall()
    told: dict[str, set[str]] = {}
    for recipient, kind in rows:
        told.setdefault(recipient, set()).add(kind)
    assert told[f"person:{VISITOR}"] >= {"offer-accepted", "reward-reserved", "dispute-opened", "commendation-recorded"}
    assert {"star-awarded", "star-withdrawn"} <= told["person:VS-NOVICE"]
    assert "certificate-revoked" in told["person:VS-DRIVER"]
    assert "household-moved" in told["person:VS-ELDER"]
    assert "offer-lapsed" in told["person:VS-GRANDSON"]
    imported = {fact.volunteer for fact in facts_of(bank) if isinstance(fact, StarAwarded)} - {"VS-NOVICE"}
    assert imported
    assert not [number for number in imported if "star-awarded" in told.get(f"person:{number}", ())]


def test_the_counter_collects_the_visitors_reward_with_the_code_that_the_demo_shows(api: Api) -> None:
    api.wrote(f"/v1/reservations/{TO_COLLECT}/collection", {"code": redemption_code(7, TO_COLLECT)}, "partner")
    statuses = {item["reservation"]: item["status"] for item in api.read("/v1/reservations", "volunteer")["items"]}
    assert statuses == {TO_COLLECT: "collected"}


def test_staff_find_work_in_their_queues_and_may_do_it(api: Api) -> None:
    counts = {queue["queue"]: queue["count"] for queue in api.read("/v1/queues", "staff")["items"]}
    assert {"to-confirm", "late-entries", "open-check-ins", "disputes", "expiring-reservations"} <= {
        queue for queue, count in counts.items() if count
    }
    api.wrote("/v1/hours/RS-TIDY/confirmation", {}, "staff")
    api.wrote("/v1/disputes/DS-OPEN/decision", {"outcome": "dismissed"}, "staff")
    api.wrote("/v1/visits/CS-WAITING/voiding", {"reason": "mistake"}, "staff")
    api.wrote("/v1/grant-proposals/GS-4/approval", {}, "staff")


def test_the_board_has_figures_and_the_administrator_a_proposal(api: Api) -> None:
    board = api.read("/v1/solvency", "auditor")
    assert board["issued"]["difference_minutes"] == 0
    assert min(board["issued"][name] for name in ("pooled_minutes", "spent_minutes", "expired_minutes")) > 0
    proposals = {item["proposal"]: item["status"] for item in api.read("/v1/policies/proposals", "admin")["items"]}
    assert proposals["PS-SILENCE"] == "open"
    assert sorted(proposals.values()) == ["adopted", "adopted", "open", "rejected", "withdrawn"]


def test_the_statement_of_who_left_can_be_shown_signed(api: Api) -> None:
    statement = api.read("/v1/leavings/qingxiu-1", "auditor")
    assert statement["statement"]["receiving_ledger"] == NEIGHBOUR
    assert "qingxiu" in statement["note"]


def test_the_names_of_who_takes_part_are_in_the_vault_and_not_in_the_journal(bank: Timebank) -> None:
    with bank.reading() as connection:
        kept = dict(
            connection.execute(
                "SELECT person, name FROM vault_people WHERE person = ANY(%s)", (list(NAMES),)
            ).fetchall()
        )
        journal = connection.execute("SELECT string_agg(convert_from(data, 'UTF8'), '') FROM facts").fetchall()[0][0]
    assert kept == NAMES
    assert not [name for name in NAMES.values() if name in journal]


# ── On the command line ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_plays_what_is_missing_and_says_what_it_did(sample_url: str, tmp_path: Path) -> None:
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": tmp_path / "data"}
    done = answer("sample-scenes", **settings)
    assert (done["recorded"] > 200, done["repeated"], done["refused"]) == (True, 0, [])
    again = answer("sample-scenes", **settings)
    assert (again["recorded"], again["repeated"], again["refused"]) == (0, done["recorded"], [])
