"""Facts as they are stored: every version of every type decodes for ever, to the same fact and the same bytes.

`tests/events/` holds one stored sample a type. A sample is never edited: a fact of another shape gets a new version, a
sample of its own, and an upcaster for the old one.
"""

import json
from pathlib import Path

import msgspec
import pytest

from domain.fact import Fact, Movement
from domain.facts import FACTS
from domain.ledger import LedgerOpened
from infrastructure.codec import UPCASTERS, UnknownFactType, UnreadableFact, decode, encode, stored_type
from tests.controls import FACT_EXAMPLES, HOURS_LOGGED, LEDGER_OPENED, POLICY_ADOPTED, envelope
from tests.facts_page import PAGE, page, rows

SAMPLES = Path(__file__).parents[1] / "events"
STORED = sorted(path.stem for path in SAMPLES.glob("*.json"))


def sample(type_name: str) -> bytes:
    return (SAMPLES / f"{type_name}.json").read_bytes()


def all_fact_types(root: type[Fact] = Fact) -> set[type[Fact]]:
    return {kind for child in root.__subclasses__() for kind in (child, *all_fact_types(child))}


def test_every_fact_there_is_has_a_stored_name_an_example_and_a_sample() -> None:
    defined = {kind for kind in all_fact_types() if kind.__module__.startswith("domain.")} - {Movement}
    assert set(FACTS.values()) == defined
    assert {fact.type for fact in FACT_EXAMPLES} == set(FACTS)
    assert set(STORED) == set(FACTS) | set(UPCASTERS)


@pytest.mark.parametrize("name", FACTS)
def test_a_stored_name_is_words_and_a_version_and_never_a_python_path(name: str) -> None:
    words, _, version = name.rpartition(".v")
    assert version.isdigit()
    assert words.replace("-", "").isalpha()
    assert words.islower()


@pytest.mark.parametrize("fact", FACT_EXAMPLES, ids=lambda fact: fact.type)
def test_a_stored_sample_reads_as_the_example_and_is_written_the_same(fact: Fact) -> None:
    stored = sample(fact.type)
    read = decode(fact.type, stored)
    assert read == envelope(fact)
    assert type(read.fact) is type(fact)
    assert read.tags() == envelope(fact).tags()
    assert encode(read) == encode(envelope(fact)) == stored


@pytest.mark.parametrize("name", STORED)
def test_a_sample_is_plain_json_with_every_field_by_name(name: str) -> None:
    read = json.loads(sample(name))
    assert list(read)[:7] == ["id", "actor", "role", "command", "digest", "policy", "decided_at"]
    assert "type" not in read["fact"]  # the stored type is a column of its own


def test_rare_characters_and_times_are_stored_as_they_are() -> None:
    stored = encode(envelope(LedgerOpened("𠮷祥", "Asia/Shanghai"))).decode()
    assert '"name":"𠮷祥"' in stored
    assert '"started_at":"2026-11-21T09:00:00+08:00"' in encode(envelope(HOURS_LOGGED)).decode()


def test_what_is_left_out_because_it_is_the_default_stays_the_default() -> None:
    """Changing a default would change what stored facts say; a policy therefore spells out every setting."""
    defaults = {
        (name, field.name): field.default
        for name, fact in FACTS.items()
        for field in msgspec.structs.fields(fact)
        if field.default is not msgspec.NODEFAULT
    }
    assert defaults == {
        ("ledger-opened.v1", "synthetic"): False,
        ("household-registered.v1", "grid"): (),
        ("hours-logged.v1", "recipient_household"): None,
        ("hours-logged.v1", "grid"): (),
        ("hours-logged.v1", "evidence"): "self",
        ("hours-logged.v1", "group"): None,
        ("hours-logged.v1", "also_logged_by"): None,
        ("hours-logged.v1", "late_reason"): None,
        ("hours-confirmed.v1", "honour_minutes"): 0,
        ("minutes-donated.v1", "need"): None,
        ("minutes-granted.v1", "on"): None,
        ("starting-minutes-granted.v1", "on"): None,
        ("checked-in.v1", "recipient_household"): None,
        ("checked-in.v1", "grid"): (),
        ("checked-in.v1", "code_hash"): None,
        ("checked-out.v1", "code_hash"): None,
        ("sheet-logged.v1", "grid"): (),
        ("sheet-logged.v1", "recipient_household"): None,
        ("sheet-logged.v1", "group"): None,
        ("sheet-logged.v1", "sha256"): None,
        ("paper-keyed.v1", "differences"): (),
        ("hours-confirmed.v1", "confirmed_as"): "staff",
        ("hours-confirmed.v1", "rating"): 0,
        ("dispute-opened.v1", "text_digest"): None,
        ("dispute-upheld.v1", "text_digest"): None,
        ("dispute-dismissed.v1", "text_digest"): None,
        ("dispute-statement-given.v1", "text_digest"): None,
        ("policy-adopted.v2", "proposal"): "",
        ("training-recorded.v1", "name"): None,
        ("household-moved.v1", "planned"): False,
        ("minutes-transferred.v1", "lots"): (),
        ("balance-carried.v1", "lots"): (),
        ("consent-given.v1", "paper_sha256"): None,
        ("objection-raised.v1", "record"): None,
        ("objection-raised.v1", "text_digest"): None,
        ("objection-upheld.v1", "text_digest"): None,
        ("objection-dismissed.v1", "text_digest"): None,
        ("period-frozen.v1", "undecided"): (),
        ("sample-drawn.v1", "period"): None,
        ("finding-recorded.v1", "sample"): None,
        ("finding-recorded.v1", "record"): None,
        ("finding-recorded.v1", "community"): None,
        ("finding-recorded.v1", "text_digest"): None,
        ("finding-answered.v1", "text_digest"): None,
        ("finding-closed.v1", "text_digest"): None,
    }
    settings = json.loads(sample("policy-adopted.v2"))["fact"]["policy"]
    assert set(settings) == set(FACTS["policy-adopted.v2"].__annotations__["policy"].__dataclass_fields__)


def test_a_policy_of_the_first_version_reads_with_what_came_later_switched_off_or_at_its_default() -> None:
    assert decode("policy-adopted.v1", sample("policy-adopted.v1")) == envelope(POLICY_ADOPTED)


@pytest.mark.parametrize("name", ["policy-adopted.v2", "policy-proposed.v1"])
def test_a_stored_policy_without_a_setting_that_came_later_reads_with_its_default(name: str) -> None:
    stored = json.loads(sample(name))
    later = [setting for setting in stored["fact"]["policy"] if setting.startswith(("certificate_", "disclosure_"))]
    for setting in later:
        del stored["fact"]["policy"][setting]
    assert later
    assert decode(name, json.dumps(stored).encode()) == decode(name, sample(name))


def test_every_fact_says_what_it_is_and_has_a_decider_and_a_fold() -> None:
    unsaid = [(row[0], row) for row in rows() if not all(row)]
    assert unsaid == []


def test_the_page_of_facts_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.facts_page"


def test_what_was_imported_says_so() -> None:
    imported = msgspec.structs.replace(envelope(HOURS_LOGGED), imported=True)
    assert decode(HOURS_LOGGED.type, encode(imported)) == imported
    assert not decode(HOURS_LOGGED.type, sample(HOURS_LOGGED.type)).imported


# ── What can't be read ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["hours-logged.v2", "hours-logged", "domain.hours.HoursLogged", ""])
def test_an_unknown_type_or_version_is_named_with_its_position(name: str) -> None:
    with pytest.raises(UnknownFactType, match="position 7") as unknown:
        decode(name, sample("hours-logged.v1"), 7)
    assert (unknown.value.type_name, unknown.value.position) == (name, 7)


def test_a_fact_that_is_not_listed_is_never_stored() -> None:
    class Unlisted(Fact, frozen=True):
        type = "unlisted.v1"

    with pytest.raises(UnknownFactType, match=r"unlisted\.v1"):
        stored_type(Unlisted())
    assert stored_type(LEDGER_OPENED) == "ledger-opened.v1"


GOOD = sample("hours-logged.v1") if "hours-logged.v1" in STORED else b""


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        GOOD[:-1],
        GOOD + b"}",
        GOOD.replace(b'"claimed_minutes":90', b'"claimed_minutes":"90"'),
        GOOD.replace(b'"claimed_minutes":90', b'"claimed_minutes":90.5'),
        GOOD.replace(b'"record":"R1",', b""),
        GOOD.replace(b"2026-11-21T09:00", b"2026-02-30T09:00"),
        sample("ledger-opened.v1") if STORED else b"",
        GOOD.replace(b'"R1"', b'"R\xff"'),
        GOOD.replace(b'"R1"', b'"R1","surplus":1'),
    ],
)
def test_damaged_bytes_are_named_with_their_position(damaged: bytes) -> None:
    assert damaged != GOOD
    with pytest.raises(UnreadableFact, match="position 7") as unreadable:
        decode("hours-logged.v1", damaged, 7)
    assert unreadable.value.type_name == "hours-logged.v1"
