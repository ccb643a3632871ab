"""Refusals: one code a rule for ever, told in Chinese and English with the facts it was decided on."""

import copy
import pickle
import pkgutil
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

import application.write_loop
import domain
from domain.decision import RowsRefused
from domain.hours import STATUS_ZH, RecordAlreadySettled, RecordNotConfirmed, ServiceRecord
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Refusal, Unknown, all_refusals

CODES = {
    "left-to-auditors": NotAllowed,
    "sample-already-drawn": AlreadyDone,
    "nothing-to-sample": AgainstRule,
    "not-the-draw": AgainstRule,
    "unknown-sample": Unknown,
    "record-not-drawn": AgainstRule,
    "record-already-inspected": AlreadyDone,
    "inspected-by-party": NotAllowed,
    "finding-already-recorded": AlreadyDone,
    "unknown-finding": Unknown,
    "finding-already-closed": AlreadyDone,
    "answered-by-auditor": NotAllowed,
    "finding-not-answered": AgainstRule,
    "consent-of-another": NotAllowed,
    "consent-needs-paper": AgainstRule,
    "consent-already-given": AlreadyDone,
    "consent-not-given": AlreadyDone,
    "unknown-disclosure": Unknown,
    "sealed-for-district": NotAllowed,
    "period-already-sealed": AlreadyDone,
    "period-not-next": AgainstRule,
    "period-not-over": AgainstRule,
    "sealed-meanwhile": AlreadyDone,
    "period-already-frozen": AlreadyDone,
    "objections-still-possible": AgainstRule,
    "objections-undecided": AgainstRule,
    "unknown-objection": Unknown,
    "objection-of-another": NotAllowed,
    "objection-too-late": AgainstRule,
    "objection-already-raised": AlreadyDone,
    "objection-still-open": AlreadyDone,
    "record-outside-period": AgainstRule,
    "objection-settled": AlreadyDone,
    "objection-decided-by-party": NotAllowed,
    "objection-left-to-administrators": NotAllowed,
    "objection-withdrawn-by-another": NotAllowed,
    "age-already-attested": AlreadyDone,
    "attested-by-member": NotAllowed,
    "balance-too-high": AgainstRule,
    "balance-too-low": AgainstRule,
    "command-id-reused": AlreadyDone,
    "community-already-registered": AlreadyDone,
    "confirmed-by-logger": NotAllowed,
    "confirmed-by-own-household": NotAllowed,
    "day-too-long": AgainstRule,
    "fact-too-long": AgainstRule,
    "granted-to-own-household": NotAllowed,
    "grid-already-registered": AlreadyDone,
    "household-already-registered": AlreadyDone,
    "in-the-future": AgainstRule,
    "ledger-already-open": AlreadyDone,
    "member-already-registered": AlreadyDone,
    "member-elsewhere": AgainstRule,
    "no-policy-in-force": AgainstRule,
    "not-enrolled": NotAllowed,
    "not-yourself": NotAllowed,
    "outside-community": NotAllowed,
    "own-household-served": AgainstRule,
    "policy-too-early": AgainstRule,
    "record-above-cap": AgainstRule,
    "record-already-logged": AlreadyDone,
    "record-already-reversed": AlreadyDone,
    "record-already-settled": AlreadyDone,
    "record-not-confirmed": AlreadyDone,
    "record-overlaps": AgainstRule,
    "record-too-long": AgainstRule,
    "record-too-short": AgainstRule,
    "rows-refused": AgainstRule,
    "too-long-ago": AgainstRule,
    "unknown-community": Unknown,
    "unknown-grid": Unknown,
    "unknown-household": Unknown,
    "unknown-member": Unknown,
    "unknown-record": Unknown,
    "volunteer-already-enrolled": AlreadyDone,
    "household-named-twice": AgainstRule,
    "tie-of-own-household": NotAllowed,
    "family-tie-already-registered": AlreadyDone,
    "unknown-family-tie": Unknown,
    "not-of-the-household": NotAllowed,
    "moved-to-own-household": NotAllowed,
    "transfers-switched-off": AgainstRule,
    "not-family": AgainstRule,
    "transfer-month-full": AgainstRule,
    "unknown-group": Unknown,
    "group-already-registered": AlreadyDone,
    "not-leading-group": NotAllowed,
    "already-in-group": AlreadyDone,
    "not-in-group": Unknown,
    "late-without-reason": AgainstRule,
    "leader-stays": NotAllowed,
    "already-leading": AlreadyDone,
    "unknown-grant": Unknown,
    "grant-already-proposed": AlreadyDone,
    "grant-already-settled": AlreadyDone,
    "approved-by-proposer": NotAllowed,
    "proposed-by-another": NotAllowed,
    "no-starting-grant": AgainstRule,
    "starting-grant-already-given": AlreadyDone,
    "opening-for-own-household": NotAllowed,
    "opening-already-credited": AlreadyDone,
    "opening-already-proposed": AlreadyDone,
    "unknown-opening": Unknown,
    "nothing-expires": AgainstRule,
    "unknown-announcement": Unknown,
    "expiry-already-done": AlreadyDone,
    "expiry-not-due": AgainstRule,
    "grant-needs-approval": AgainstRule,
    "offer-already-made": AlreadyDone,
    "offer-for-somebody-else": NotAllowed,
    "own-offer-accepted": NotAllowed,
    "record-not-for-request": AgainstRule,
    "request-already-asked": AlreadyDone,
    "request-in-other-status": AlreadyDone,
    "request-not-over": AgainstRule,
    "requests-still-open": AgainstRule,
    "offer-stands": AgainstRule,
    "too-far-ahead": AgainstRule,
    "no-move-planned": AgainstRule,
    "grid-name-taken": AgainstRule,
    "unknown-split": Unknown,
    "split-already-done": AlreadyDone,
    "served-outside-window": AgainstRule,
    "unknown-offer": Unknown,
    "unknown-request": Unknown,
    "window-over": AgainstRule,
    "door-code-exists": AlreadyDone,
    "door-code-expired": AgainstRule,
    "door-code-spent": AlreadyDone,
    "evidence-already-attached": AlreadyDone,
    "evidence-too-weak": AgainstRule,
    "not-the-leader": NotAllowed,
    "own-door-code": NotAllowed,
    "own-hours-keyed": NotAllowed,
    "paper-already-logged": AlreadyDone,
    "paper-number-taken": AlreadyDone,
    "sheet-already-logged": AlreadyDone,
    "still-checked-in": AlreadyDone,
    "unknown-door-code": Unknown,
    "unknown-visit": Unknown,
    "visit-already-begun": AlreadyDone,
    "visit-not-open": AlreadyDone,
    "visit-not-overdue": AgainstRule,
    "visit-times-outside": AgainstRule,
    "visit-too-long": AgainstRule,
    "decided-by-party": NotAllowed,
    "dispute-already-opened": AlreadyDone,
    "dispute-closed": AlreadyDone,
    "dispute-not-due": AgainstRule,
    "disputed-too-late": AgainstRule,
    "ground-not-fitting": AgainstRule,
    "left-to-administrators": NotAllowed,
    "left-to-time": NotAllowed,
    "not-your-side": NotAllowed,
    "record-dispute-decided": AlreadyDone,
    "record-in-dispute": AlreadyDone,
    "record-not-disputable": AlreadyDone,
    "sides-not-heard": AgainstRule,
    "silence-not-over": AgainstRule,
    "unknown-dispute": Unknown,
    "withdrawn-by-another": NotAllowed,
    "age-not-attested": AgainstRule,
    "collected-in-the-future": AgainstRule,
    "collected-outside-reservation": AgainstRule,
    "collection-still-possible": AgainstRule,
    "handed-in-too-late": AgainstRule,
    "nothing-to-settle": AgainstRule,
    "partner-already-registered": AlreadyDone,
    "redemption-already-reversed": AlreadyDone,
    "redemption-balance-too-low": AgainstRule,
    "redemption-of-own-household": NotAllowed,
    "reservation-already-collected": AlreadyDone,
    "reservation-already-ended": AlreadyDone,
    "reservation-already-made": AlreadyDone,
    "reservation-already-released": AlreadyDone,
    "reward-already-offered": AlreadyDone,
    "reward-already-withdrawn": AlreadyDone,
    "reward-limit-reached": AgainstRule,
    "reward-not-collected": AlreadyDone,
    "reward-not-for-community": AgainstRule,
    "reward-out-of-stock": AgainstRule,
    "stock-too-large": AgainstRule,
    "unknown-partner": Unknown,
    "unknown-reservation": Unknown,
    "unknown-reward": Unknown,
    "wrong-code": NotAllowed,
    "closed-household": AgainstRule,
    "decided-by-member": NotAllowed,
    "member-has-died": AgainstRule,
    "minutes-still-held": AgainstRule,
    "not-yet": AgainstRule,
    "same-household": AgainstRule,
    "same-place": AgainstRule,
    "ledger-already-trusted": AlreadyDone,
    "ledger-not-trusted": AgainstRule,
    "no-signing-key": AgainstRule,
    "nothing-to-take-along": AgainstRule,
    "same-ledger": AgainstRule,
    "statement-already-paid-in": AlreadyDone,
    "statement-expired": AgainstRule,
    "statement-for-another-ledger": AgainstRule,
    "statement-not-genuine": AgainstRule,
    "take-along-not-allowed": AgainstRule,
    "unknown-statement": Unknown,
    "dissolved-community": AgainstRule,
    "effective-too-early": AgainstRule,
    "moved-into-itself": AgainstRule,
    "place-already-moved": AlreadyDone,
    "decided-by-proposer": NotAllowed,
    "policy-needs-approval": NotAllowed,
    "policy-proposal-exists": AlreadyDone,
    "policy-proposal-settled": AlreadyDone,
    "unknown-policy-proposal": Unknown,
    "policy-withdrawn-by-another": NotAllowed,
    "stars-not-due": AgainstRule,
    "recognised-by-own-household": NotAllowed,
    "recognition-already-recorded": AlreadyDone,
    "unknown-recognition": Unknown,
    "recognition-already-withdrawn": AlreadyDone,
    "day-to-come": AgainstRule,
    "certificate-too-long-for-qr": AgainstRule,
    "certified-by-administrators": NotAllowed,
    "nothing-to-certify": AgainstRule,
    "too-few-minutes-to-certify": AgainstRule,
    "unknown-certificate": Unknown,
    "certificate-already-revoked": AlreadyDone,
}
"""Clients and printed guides name these codes, so a code is added here and never changed."""

for found in pkgutil.iter_modules(domain.__path__):
    import_module(f"domain.{found.name}")
REFUSALS = [rule for rule in all_refusals() if rule.__module__.split(".")[0] in ("domain", "application")]


def example(rule: type[Refusal]) -> Refusal:
    values: dict[str, Any] = {str: "𠮷-1", int: -41, "rows": ((3, RecordAlreadySettled("R1", "confirmed")),)}
    given = {field.name: values.get(field.name, values.get(field.type)) for field in fields(rule)}
    return rule(**(given | {"status": "confirmed"} if "status" in given else given))


def test_codes_are_unique_and_never_change() -> None:
    assert application.write_loop.CommandIdReused in REFUSALS
    codes = [example(rule).code for rule in REFUSALS]
    assert sorted(codes) == sorted(CODES)
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("rule", REFUSALS, ids=lambda rule: rule.__name__)
def test_every_refusal_is_of_its_kind(rule: type[Refusal]) -> None:
    assert rule.__bases__ == (CODES[example(rule).code],)


@pytest.mark.parametrize("rule", REFUSALS, ids=lambda rule: rule.__name__)
def test_every_refusal_is_told_in_both_languages_with_what_it_names(rule: type[Refusal]) -> None:
    refusal = example(rule)
    zh, en = refusal.message_zh, refusal.message_en
    assert "{" not in zh + en
    assert zh.endswith("。")
    assert en.endswith(".")
    assert str(refusal) == f"{zh} / {en}"
    for name, template in (("zh", rule.zh), ("en", rule.en)):
        named = {field for field in refusal.facts if "{" + field + "}" in template}
        # What a message leaves out is what its reader has at hand: the command or the record they sent.
        assert set(refusal.facts) - named <= {"command", "record"}, name


@pytest.mark.parametrize("rule", REFUSALS, ids=lambda rule: rule.__name__)
def test_a_refusal_survives_being_copied_and_sent(rule: type[Refusal]) -> None:
    refusal = example(rule)
    for twin in (copy.copy(refusal), copy.deepcopy(refusal), pickle.loads(pickle.dumps(refusal))):  # noqa: S301
        assert twin == refusal
        assert hash(twin) == hash(refusal)
        assert str(twin) == str(refusal)


def test_a_status_is_told_in_chinese_where_the_reader_is() -> None:
    statuses = set(ServiceRecord.__annotations__["status"].__args__) - {"absent"}
    assert set(STATUS_ZH) == statuses
    for rule in (RecordAlreadySettled, RecordNotConfirmed):
        for status in statuses:
            assert STATUS_ZH[status] in rule("R1", status).message_zh
            assert status in rule("R1", status).message_en
            assert status not in rule("R1", status).message_zh


def test_a_batchs_refusal_carries_its_rows_and_puts_none_of_them_into_its_own_facts() -> None:
    refusal = example(RowsRefused)
    assert isinstance(refusal, RowsRefused)
    assert refusal.rows[0][1].code == "record-already-settled"
    assert refusal.facts == {}
