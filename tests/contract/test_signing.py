"""Signed notes and the key that signs them: as C2SP has them, in a file of its owner's, and refused if a bit is off."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.statement import StatementNotGenuine, VerifierKey
from infrastructure.signing import (
    SigningKey,
    SigningKeyExists,
    SigningKeyUnusable,
    create_key,
    key_path,
    open_note,
    read_key,
)
from tests.controls import STATEMENT

KEY = SigningKey("xingning", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOTE = KEY.sign(STATEMENT.text())


def test_a_key_and_a_note_read_as_other_programs_write_them() -> None:
    """The published example of Go's golang.org/x/mod/sumdb/note: its verifier key and its signed note."""
    peter = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    note = (
        f"{text}\n— PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert open_note(note, peter) == text


def test_a_note_is_opened_by_the_key_that_signed_it_and_by_no_other() -> None:
    assert open_note(NOTE, KEY.verifier) == STATEMENT.text()
    assert KEY.sign(STATEMENT.text()) == NOTE
    for other in (VerifierKey.of("xingning", bytes(32)), VerifierKey.of("qingxiu", KEY.verifier.public_key)):
        with pytest.raises(StatementNotGenuine):
            open_note(NOTE, other)


def test_every_single_altered_byte_is_refused() -> None:
    stored = NOTE.encode()
    for position in range(len(stored)):
        for change in (1, 0x20, 0x80):
            altered = bytearray(stored)
            altered[position] ^= change
            refused(bytes(altered))


@settings(max_examples=500)
@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 255), st.sampled_from(["put", "insert", "delete"]))
def test_whatever_is_put_in_or_left_out_is_refused(position: int, byte: int, how: str) -> None:
    altered = bytearray(NOTE.encode())
    match how:
        case "put":
            altered[position] = byte
        case "insert":
            altered.insert(position, byte)
        case _:
            del altered[position]
    if bytes(altered) != NOTE.encode():
        refused(bytes(altered))


@pytest.mark.parametrize("altered", ["", "\n", "\n\n", NOTE + NOTE, NOTE.rstrip("\n"), NOTE.replace("\n\n", "\n")])
def test_what_is_no_note_is_refused(altered: str) -> None:
    refused(altered.encode())


def refused(altered: bytes) -> None:
    with pytest.raises(StatementNotGenuine):
        open_note(altered.decode("utf-8", "surrogateescape"), KEY.verifier)


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_made_once_for_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    assert read_key(tmp_path, "qingxiu") is None
    made = create_key(tmp_path, "qingxiu")
    path = key_path(tmp_path, "qingxiu")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    read = read_key(tmp_path, "qingxiu")
    assert read is not None
    assert read.verifier == made.verifier
    assert str(made.verifier).startswith("qingxiu+")
    assert VerifierKey.parse(str(made.verifier)) == made.verifier
    with pytest.raises(SigningKeyExists):
        create_key(tmp_path, "qingxiu")
    assert create_key(tmp_path, "xingning").verifier != made.verifier


def test_whatever_the_key_it_reads_back(tmp_path: Path) -> None:
    made = [create_key(tmp_path, f"ledger-{number}").verifier for number in range(50)]
    assert any("+" in str(key).split("+", 2)[2] for key in made)
    read = [read_key(tmp_path, f"ledger-{number}") for number in range(50)]
    assert [key and key.verifier for key in read] == made
    assert [VerifierKey.parse(str(key)) for key in made] == made


def test_a_key_that_others_may_read_or_that_is_another_ledgers_is_not_used(tmp_path: Path) -> None:
    create_key(tmp_path, "qingxiu")
    path = key_path(tmp_path, "qingxiu")
    path.chmod(0o640)
    with pytest.raises(SigningKeyUnusable, match="chmod 600"):
        read_key(tmp_path, "qingxiu")
    path.chmod(0o600)
    os.replace(path, key_path(tmp_path, "xingning"))
    with pytest.raises(SigningKeyUnusable):
        read_key(tmp_path, "xingning")
    for content in ("", "PRIVATE+KEY+xingning+00000000+AQ==\n"):
        key_path(tmp_path, "xingning").write_text(content)
        with pytest.raises(SigningKeyUnusable):
            read_key(tmp_path, "xingning")
