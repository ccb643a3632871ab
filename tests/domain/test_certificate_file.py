"""Certificates as files: what was written is read back, whatever it holds, and nothing else is."""

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.certificate import shown_code
from domain.certificate_file import (
    ALPHABET,
    PACKED_MARK,
    CertificateContent,
    CertificateFile,
    CertifiedService,
    NoCertificateFile,
    base45,
    from_base45,
    unpacked,
)
from domain.checkpoint import Receipt
from tests.controls import CERTIFICATE_CODE, CERTIFICATE_ISSUED

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30)


def content(**changes: Any) -> CertificateContent:
    """What the example's paper says."""
    fact = CERTIFICATE_ISSUED
    said = {
        **{name: getattr(fact, name) for name in CertificateContent.model_fields if hasattr(fact, name)},
        "services": tuple(CertifiedService(**{n: getattr(one, n) for n in one.__slots__}) for one in fact.services),
        "ledger": "qingxiu",
        "volunteer_name": "示例志愿者",
        "in_charge_name": None,
        "handler_name": None,
        "contact": "0771-0000000",
        "code": shown_code(CERTIFICATE_CODE),
        "standing_minutes": fact.service_minutes,
        "position": 500,
        "signed_at": datetime(2026, 11, 22, 4, tzinfo=UTC),
        "synthetic": True,
    }
    return CertificateContent.model_validate(said | changes)


def file(said: CertificateContent, leaf: bytes = b"leaf", path: tuple[bytes, ...] = ()) -> CertificateFile:
    note = f"{said.text()}\n— qingxiu AAAAAAAA\n"
    return CertificateFile(note, Receipt(413, path, "qingxiu\n500\nroot\n\n— qingxiu AAAAAAAA\n", leaf))


def test_what_is_printed_must_be_what_the_fact_says() -> None:
    content().require_issued(CERTIFICATE_ISSUED)
    content(code=None, volunteer_name=None, contact=None).require_issued(CERTIFICATE_ISSUED)


@pytest.mark.parametrize(
    "change",
    [
        {"certificate": "2026-000002"},
        {"volunteer": "V2"},
        {"since": date(2025, 1, 1)},
        {"until": date(2026, 11, 22)},
        {"service_minutes": 241, "standing_minutes": 241},
        {"service_records": 4},
        {"services": ()},
        {"issuer": "别处"},
        {"in_charge": "S9"},
        {"issued_by": "S9"},
        {"issued_on": date(2026, 11, 23)},
        {"public_until": date(2026, 11, 30)},
        {"code": "0000-0000-0000-0000"},
        {"standing_minutes": 241},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_the_fact_does_not_say_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(NoCertificateFile):
        content(**change).require_issued(CERTIFICATE_ISSUED)


def test_minutes_that_no_longer_stand_are_no_valid_certificate() -> None:
    assert content().status == "valid"
    assert content(standing_minutes=180).status == "records-reversed"


@given(TEXT, TEXT, st.binary(max_size=3000), st.lists(st.binary(min_size=32, max_size=32), max_size=20))
def test_a_file_and_its_code_are_read_back_whatever_they_hold(
    name: str, contact: str, leaf: bytes, path: list[bytes]
) -> None:
    said = content(volunteer_name=name, contact=contact)
    written = file(said, leaf, tuple(path))
    assert CertificateFile.parse(written.text()) == written
    assert CertificateFile.parse(written.packed() + "\n") == written
    assert set(written.packed()) <= set(ALPHABET)
    assert written.content == said


@pytest.mark.parametrize(
    "altered",
    [
        lambda text: text.replace('"code"', '"kode"'),
        lambda text: text.replace('":', '": ', 1),
        lambda text: text.replace("{", '{"extra":1,', 1),
        lambda text: text.replace(":240", ":2.4e2"),
        lambda text: text.replace("timebank-certificate/v1", "timebank-certificate/v2"),
    ],
)
def test_only_the_canonical_text_is_a_certificate(altered: Any) -> None:
    with pytest.raises(NoCertificateFile):
        CertificateContent.parse(altered(content().text()))


@given(st.binary(max_size=400))
def test_whatever_is_packed_is_unpacked(packed: bytes) -> None:
    assert from_base45("".join(base45(packed))) == packed


@given(st.text(alphabet=ALPHABET, max_size=60) | st.text(max_size=60))
def test_no_text_of_a_code_does_anything_but_be_refused(text: str) -> None:
    with pytest.raises(NoCertificateFile):
        unpacked(PACKED_MARK + text)


def test_base45_is_as_its_specification_has_it() -> None:
    assert "".join(base45(b"Hello!!")) == "%69 VD92EX0"
    assert "".join(base45(b"base-45")) == "UJCLQE7W581"
    assert from_base45("QED8WEX0") == b"ietf!"
    for text in ("GGW", "A", ":::", "::", "ä"):
        with pytest.raises(ValueError, match=re.escape(text)):
            from_base45(text)
