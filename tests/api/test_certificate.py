"""Service certificates over HTTP: numbered without gaps, verified by whoever holds one, and true to what stands."""

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from api import wiring
from api.certificate import MEANINGS, CertificatePage, Verification
from api.wiring import Timebank
from application.certificate import recount
from domain.certificate import (
    CertificateAlreadyRevoked,
    IssueCertificate,
    RevokeCertificate,
    code_sha256,
    count_service,
    issue_certificate,
    revoke_certificate,
)
from domain.decision import Actor
from domain.hours import ConfirmHours, ReverseHours, confirm, reverse
from domain.household import RegisterMember, register_member
from infrastructure.vault import forget, remember
from tests.api.racing import RACERS, race, won
from tests.api.service import Api, Volunteer, midnight, register_places, serving

OpenBank = Callable[..., Timebank]
CONTACT = "0771-5550000"


def today(api: Api) -> date:
    return midnight(api.bank).date()


def serve(api: Api, person: Volunteer, hour: int = 9, **changes: Any) -> str:
    record = api.logged(person, hour=hour, **changes)
    api.record((confirm, ConfirmHours(record=record)), actor=Actor("D2", "admin"))
    return record


def wanted(api: Api, person: Volunteer, **changes: Any) -> dict[str, Any]:
    return {
        "volunteer": person.number,
        "since": (today(api) - timedelta(days=30)).isoformat(),
        "until": today(api).isoformat(),
        "in_charge": "S8",
        "contact": CONTACT,
        "in_charge_name": "示例负责人",
    } | changes


def issued(api: Api, person: Volunteer, by: str = "S1", **changes: Any) -> Any:
    """A new certificate, as staff read it."""
    number = api.wrote("/v1/certificates", wanted(api, person, **changes), by)["certificate"]
    return api.read(f"/v1/certificates/{number}", by)


def verified(api: Api, number: str, code: str) -> Any:
    """What anybody is told, without a token; only what is there."""
    found = api.read(f"/v1/certificates/{number}/verification", code=code)
    assert set(found) <= set(Verification.model_fields)
    assert found["meaning"] == MEANINGS[found["status"]]
    return found


# ── Issued and read ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_says_what_was_confirmed_by_service_and_who_answers_for_it(api: Api) -> None:
    anna = api.new_volunteer()
    with psycopg.connect(api.bank.address) as connection:
        remember(connection, api.bank.name, names={anna.number: "示例志愿者"})
    for hour, service in ((8, "助餐"), (10, "助餐"), (12, "助洁")):
        serve(api, anna, hour, service=service)
    api.logged(anna, hour=14)  # nobody confirmed it
    found = issued(api, anna)
    assert found["services"] == [
        {"service": "助洁", "minutes": 60, "records": 1},
        {"service": "助餐", "minutes": 120, "records": 2},
    ]
    expected = {
        "volunteer": anna.number,
        "volunteer_name": "示例志愿者",
        "service_minutes": 180,
        "service_records": 3,
        "standing_minutes": 180,
        "issuer": "青秀区时间银行",
        "in_charge": "S8",
        "in_charge_name": "示例负责人",
        "issued_by": "S1",
        "handler_name": None,
        "contact": CONTACT,
        "fee": 0,
        "status": "valid",
        "issued_on": today(api).isoformat(),
        "public_until": (today(api) + timedelta(days=7)).isoformat(),
    }
    assert expected.items() <= found.items()
    assert found["certificate"] == f"{today(api).year}-{found['sequence']:06}"
    assert len(found["code"].replace("-", "")) == 16
    assert api.read(f"/v1/certificates/{found['certificate']}", anna.number) == found
    (listed,) = api.read(f"/v1/volunteers/{anna.number}/recognition", anna.number)["certificates"]
    assert listed["certificate"] == found["certificate"]


def test_what_was_recorded_a_moment_before_is_counted(api: Api) -> None:
    anna = api.new_volunteer()
    for number, hour in enumerate((8, 10, 12, 14), 1):
        serve(api, anna, hour)
        answer = api.wrote("/v1/certificates", wanted(api, anna), "S1")
        assert api.read(f"/v1/certificates/{answer['certificate']}", "S1")["service_records"] == number


def test_the_period_bounds_the_days_of_service(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    for days in ({"since": today(api).isoformat()}, {"until": (today(api) - timedelta(days=2)).isoformat()}):
        response = api.post("/v1/certificates", wanted(api, anna, **days), "S1")
        api.problem(response, 422, "nothing-to-certify")
    assert issued(api, anna, since=(today(api) - timedelta(days=1)).isoformat())["service_records"] == 1


def test_names_contact_and_code_are_in_the_vault_and_in_no_fact(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    found = issued(api, anna)
    auditor = api.read(f"/v1/certificates/{found['certificate']}", "auditor")
    private = {"volunteer_name", "in_charge_name", "handler_name", "contact", "code"}
    assert set(found) - set(auditor) == private
    secrets = (CONTACT, "示例负责人", found["code"], found["code"].replace("-", ""))
    with psycopg.connect(api.bank.owner_address) as connection:
        rows = connection.execute("SELECT f::text, convert_from(data, 'UTF8') FROM facts f").fetchall()
        kept = connection.execute(
            "SELECT remark FROM vault_remarks WHERE record = %s", ("certificate:" + found["code_sha256"],)
        ).fetchall()
    assert not [text for row in rows for text in row if any(secret in text for secret in secrets)]
    assert hashlib.sha256(kept[0][0].encode()).hexdigest() == found["kept_sha256"]
    with psycopg.connect(api.bank.address) as connection:
        forget(connection, api.bank.name, ["certificate:" + found["code_sha256"]])
    erased = api.read(f"/v1/certificates/{found['certificate']}", "S1")
    assert {erased[name] for name in ("in_charge_name", "contact", "code")} == {None}
    assert verified(api, found["certificate"], found["code"])["status"] == "valid"


def test_a_repeated_request_is_one_certificate_with_its_first_code(api: Api) -> None:
    anna, key = api.new_volunteer(), uuid4().hex
    serve(api, anna)
    first = api.wrote("/v1/certificates", wanted(api, anna), "S1", key)
    before = api.read(f"/v1/certificates/{first['certificate']}", "S1")
    serve(api, anna, hour=11)
    again = api.post("/v1/certificates", wanted(api, anna), "S1", key)
    assert (again.status_code, again.json()) == (200, first | {"repeated": True})
    assert api.read(f"/v1/certificates/{first['certificate']}", "S1") == before
    with psycopg.connect(api.bank.address) as connection:
        kept = connection.execute(
            "SELECT count(*) FROM vault_remarks WHERE ledger = %s AND record LIKE 'certificate:%%'", (api.bank.name,)
        ).fetchall()
        refused = wanted(api, anna, until="2999-01-01")
        api.problem(api.post("/v1/certificates", refused, "S1"), 422, "day-to-come")
        after = connection.execute(
            "SELECT count(*) FROM vault_remarks WHERE ledger = %s AND record LIKE 'certificate:%%'", (api.bank.name,)
        ).fetchall()
    assert kept == after
    assert kept[0][0] == len(api.read("/v1/certificates", "admin", limit=500)["items"]) - erased(api)


def erased(api: Api) -> int:
    """How many certificates have nothing in the vault any more."""
    rows = api.read("/v1/certificates", "admin", limit=500)["items"]
    shown = [api.read(f"/v1/certificates/{row['certificate']}", "admin") for row in rows]
    return sum(one["code"] is None for one in shown)


def test_who_may_not_issue_or_read_is_refused_with_its_rule(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    serve(api, anna)
    path = "/v1/certificates"
    api.tokens["own"] = api.new_token(anna.number, "staff", "新竹社区")
    api.problem(api.post(path, wanted(api, anna), "own"), 403, "recognised-by-own-household")
    api.problem(api.post(path, wanted(api, anna, in_charge=anna.number), "S1"), 403, "recognised-by-own-household")
    api.problem(api.post(path, wanted(api, anna), "S9"), 404, "unknown-member")
    api.problem(api.post(path, wanted(api, anna), anna.number), 403, "role-not-allowed")
    api.problem(api.post(path, wanted(api, ben), "S1"), 422, "nothing-to-certify")
    api.problem(api.post(path, wanted(api, anna, contact=""), "S1"), 422, "invalid-request")
    api.problem(api.post(path, wanted(api, anna, since="2999-01-01"), "S1"), 422, "invalid-request")
    number = issued(api, anna)["certificate"]
    for stranger in (ben.number, "S9"):
        api.problem(api.get(f"{path}/{number}", stranger), 404, "unknown-certificate")
    api.problem(api.post(f"{path}/{number}/revocation", {"reason": "other"}, "S9"), 404, "unknown-certificate")
    api.problem(api.post(f"{path}/{number}/revocation", {"reason": "other"}, "own"), 403, "recognised-by-own-household")
    api.problem(api.get(f"{path}/2026-999999", "admin"), 404, "unknown-certificate")
    assert {row["volunteer"] for row in api.read(path, anna.number)["items"]} == {anna.number}
    assert api.read(path, ben.number, volunteer=anna.number)["items"] == []
    assert number not in {row["certificate"] for row in api.read(path, "S9", limit=500)["items"]}
    api.problem(api.get(path, "S9", community="新竹社区"), 403, "outside-community")


def test_where_the_policy_leaves_it_to_administrators_staff_are_refused(open_bank: OpenBank) -> None:
    rules = {"certificate_issuer": "admin", "certificate_minutes_min": 120, "certificate_public_days": 30}
    with serving(open_bank(**rules)) as api:
        register_places(api)
        anna = api.new_volunteer()
        serve(api, anna)
        path = "/v1/certificates"
        api.problem(api.post(path, wanted(api, anna), "S1"), 403, "certified-by-administrators")
        api.problem(api.post(path, wanted(api, anna), "admin"), 422, "too-few-minutes-to-certify")
        serve(api, anna, hour=11)
        found = issued(api, anna, by="admin")
        assert found["public_until"] == (today(api) + timedelta(days=30)).isoformat()
        revocation = api.post(f"{path}/{found['certificate']}/revocation", {"reason": "other"}, "S1")
        api.problem(revocation, 403, "certified-by-administrators")


def test_a_member_who_moved_to_no_household_keeps_their_certificate(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    number = issued(api, anna)["certificate"]
    api.wrote("/v1/departures", {"member": anna.number}, "S1")
    assert api.read(f"/v1/certificates/{number}", anna.number)["certificate"] == number
    api.problem(api.get(f"/v1/certificates/{number}", "S1"), 404, "unknown-certificate")
    assert issued(api, anna, by="S0")["service_minutes"] == 60
    api.record((register_member, RegisterMember(member=anna.number, household=anna.household)))
    assert api.read(f"/v1/certificates/{number}", "S1")["certificate"] == number


# ── Verified by anybody ──────────────────────────────────────────────────────────────────────────────────────


def test_whoever_holds_it_verifies_it_with_number_and_code_and_nobody_else(api: Api) -> None:
    anna, ben = api.new_volunteer(), api.new_volunteer()
    serve(api, anna)
    serve(api, ben)
    found, other = issued(api, anna), issued(api, ben)
    number, code = found["certificate"], found["code"]
    told = verified(api, number, code.lower().replace("-", " "))
    assert told["status"] == "valid"
    for name in ("certificate", "volunteer", "since", "until", "services", "service_minutes", "issuer", "issued_on"):
        assert told[name] == found[name]
    private = {"in_charge", "issued_by", "contact", "volunteer_name", "code", "community", "reversed_minutes"}
    assert not private & set(told)
    unknown = verified(api, number, other["code"])
    assert unknown["status"] == "unknown"
    assert set(unknown) == {"status", "meaning", "notice"}
    for wrong_number, wrong_code in ((number, "0" * 16), (number, ""), ("2026-999999", code), ("X", code)):
        assert verified(api, wrong_number, wrong_code) == unknown


def test_a_reversal_after_issue_shows_with_the_minutes_that_still_stand(api: Api) -> None:
    anna = api.new_volunteer()
    before = serve(api, anna, 8)
    api.record((reverse, ReverseHours(record=before, reason="wrong-time")))
    serve(api, anna, 10)
    later = serve(api, anna, 12)
    found = issued(api, anna)
    assert (found["service_minutes"], found["status"]) == (120, "valid")
    serve(api, anna, 14)  # is no part of what was certified
    api.record((reverse, ReverseHours(record=later, reason="not-served")))
    told = verified(api, found["certificate"], found["code"])
    assert told["status"] == "records-reversed"
    assert (told["service_minutes"], told["reversed_minutes"], told["standing_minutes"]) == (120, 60, 60)
    assert told["reversed_records"] == 1
    again = issued(api, anna)
    assert (again["service_minutes"], again["status"]) == (120, "valid")
    api.wrote(f"/v1/certificates/{found['certificate']}/revocation", {"reason": "records-reversed"}, "S2")
    assert verified(api, found["certificate"], found["code"])["status"] == "revoked"
    assert verified(api, again["certificate"], again["code"])["status"] == "valid"


def test_a_revoked_certificate_says_so_and_no_more_and_is_revoked_once(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    found = issued(api, anna)
    path = f"/v1/certificates/{found['certificate']}/revocation"
    answer = api.wrote(path, {"reason": "mistake"}, "S2")
    assert answer["facts"] == ["certificate-revoked.v1"]
    api.problem(api.post(path, {"reason": "other"}, "S1"), 409, "certificate-already-revoked")
    told = verified(api, found["certificate"], found["code"])
    assert set(told) == {"status", "meaning", "notice", "certificate", "revoked_on"}
    assert (told["status"], told["revoked_on"]) == ("revoked", today(api).isoformat())
    assert verified(api, found["certificate"], "0" * 16)["status"] == "unknown"
    shown = api.read(f"/v1/certificates/{found['certificate']}", anna.number)
    assert (shown["status"], shown["revoked_by"], shown["reason"]) == ("revoked", "S2", "mistake")


def test_issued_certificates_are_publicised_without_saying_for_whom(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    number = issued(api, anna)["certificate"]
    response = api.get("/v1/published-certificates", limit=500, min_position=api.bank.store.head())
    items = response.json()["items"]
    (item,) = [item for item in items if item["certificate"] == number]
    assert set(item) == {
        *("certificate", "sequence", "issuer", "service_minutes", "issued_on", "public_until", "status"),
    }
    assert anna.number not in response.text
    assert anna.household not in response.text
    first = api.read("/v1/published-certificates", limit=1)
    assert len(first["items"]) == 1
    assert set(first) == set(CertificatePage.model_fields)


# ── Many at once ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loops", [1, 4])
def test_sixteen_certificates_at_once_have_sixteen_numbers_in_a_row(open_bank: OpenBank, loops: int) -> None:
    bank = open_bank()
    with serving(bank) as api:
        register_places(api)
        anna = api.new_volunteer()
        record = serve(api, anna)
        position = bank.store.head()
        commands = [
            IssueCertificate(
                **wanted(api, anna),
                counted=count_service(position, [(record, "助餐", 60)]),
                code_sha256=code_sha256(f"CODE{number}"),
                kept_sha256="ab" * 32,
            )
            for number in range(RACERS)
        ]
        actors = [Actor(f"D{number}", "admin") for number in range(RACERS)]
        outcomes = race(bank, loops, [(issue_certificate, *pair) for pair in zip(commands, actors, strict=True)])
        assert won(outcomes) == RACERS
        facts = [outcome.facts[0] for outcome in outcomes]
        assert sorted(fact.sequence for fact in facts) == [*range(1, RACERS + 1)]
        assert len({fact.certificate for fact in facts}) == RACERS
        number = facts[0].certificate
        revocation = RevokeCertificate(certificate=number, reason="other")
        revoked = race(bank, loops, [(revoke_certificate, revocation, actor) for actor in actors])
        assert won(revoked) == 1
        assert revoked.count(CertificateAlreadyRevoked(number)) == RACERS - 1
        again = recount(bank.store)
        assert (again.certificates, again.differences) == (RACERS, [])


def test_a_verification_waits_for_what_was_just_written_and_needs_a_code(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v1/certificates/2026-000001/verification"
    api.problem(api.get(path), 422, "invalid-request")
    monkeypatch.setattr(wiring, "READ_WAIT_SECONDS_MAX", 0.05)
    asked = api.bank.store.head() + 1000
    api.problem(api.get(path, code="X", min_position=asked), 503, "not-yet-projected")
