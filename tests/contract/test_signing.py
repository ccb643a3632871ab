"""Signed notes and the key that signs them: as C2SP has them, in a file of its owner's, and refused if a bit is off."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.statement import StatementNotGenuine, VerifierKey
from infrastructure import signing
from infrastructure.signing import (
    NoteNotGenuine,
    OtherOrigin,
    SigningKey,
    SigningKeyExists,
    SigningKeyUnusable,
    create_key,
    key_path,
    open_note,
    read_key,
    rotate_key,
    signed_checkpoint,
    succeeding,
    successions,
    verified,
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


# ── Notes that several have signed ───────────────────────────────────────────────────────────────────────────────

WITNESS = SigningKey("auditor", Ed25519PrivateKey.from_private_bytes(bytes(32)))
TEXT = "xingning\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
COSIGNED = KEY.sign(TEXT) + WITNESS.sign(TEXT).rpartition("\n\n")[2]


@pytest.mark.parametrize("keys", [[KEY], [WITNESS], [KEY, WITNESS]])
def test_a_cosigned_note_is_verified_by_whichever_keys_are_trusted(keys: list[SigningKey]) -> None:
    assert verified(COSIGNED, [key.verifier for key in keys]) == TEXT


@pytest.mark.parametrize("keys", [[KEY], [KEY, WITNESS]])
def test_a_checkpoint_is_believed_of_a_key_of_its_own_log(keys: list[SigningKey]) -> None:
    assert signed_checkpoint(COSIGNED, [key.verifier for key in keys]).text() == TEXT


def test_a_key_of_another_log_cannot_speak_for_a_checkpoint_however_trusted_it_is() -> None:
    with pytest.raises(OtherOrigin, match="of the log “xingning”, and the key that signed it is of “auditor”"):
        signed_checkpoint(COSIGNED, [WITNESS.verifier])
    with pytest.raises(NoteNotGenuine):
        signed_checkpoint(KEY.sign(TEXT), [WITNESS.verifier])


def test_the_note_of_the_specification_is_verified() -> None:
    """The published example of C2SP signed-note's predecessor, with a second signature beside it."""
    peter = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    note = (
        f"{text}\n— PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert verified(note + WITNESS.sign(text).rpartition("\n\n")[2], [peter]) == text


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        TEXT + "\n",
        COSIGNED[:-1],
        COSIGNED + "\n",
        COSIGNED.replace("xingning\n0", "xingning\n1", 1),
        COSIGNED.replace("— auditor ", "- auditor "),
        COSIGNED.replace("— auditor ", "— "),
        COSIGNED.replace("— xingning ", "— qingxiu "),
        COSIGNED.replace("xingning\n", "xingning\r\n", 1),
        COSIGNED + "— a b\n" * 100,
        COSIGNED + "— xingning AAAA\n",
    ],
)
def test_a_note_that_no_trusted_key_signed_as_it_is_is_refused(note: str) -> None:
    with pytest.raises(NoteNotGenuine):
        verified(note, [KEY.verifier])


def test_a_spoilt_signature_of_a_known_key_spoils_the_note() -> None:
    spoilt = COSIGNED.replace(WITNESS.sign(TEXT)[-20:], "AAAAAAAAAAAAAAAAAA=\n")
    assert verified(spoilt, [KEY.verifier]) == TEXT
    with pytest.raises(NoteNotGenuine):
        verified(spoilt, [KEY.verifier, WITNESS.verifier])


# ── Rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────

NOW = datetime(2026, 10, 31, 9, tzinfo=UTC)


def test_a_rotated_key_signs_its_successor_and_is_destroyed(tmp_path: Path) -> None:
    assert rotate_key(tmp_path, "qingxiu", NOW) is None
    first = create_key(tmp_path, "qingxiu")
    keys = [first.verifier]
    for _ in range(3):
        rotated = rotate_key(tmp_path, "qingxiu", NOW)
        assert rotated is not None
        keys.append(rotated.verifier)
    assert len(set(keys)) == 4
    read = read_key(tmp_path, "qingxiu")
    assert read is not None
    assert read.verifier == keys[-1]
    notes = successions(tmp_path, "qingxiu")
    assert succeeding(keys[:1], notes) == keys
    assert succeeding(keys[2:3], notes) == keys[2:]
    assert succeeding([WITNESS.verifier], notes) == [WITNESS.verifier]
    assert [note.split("\n")[3] for note in notes] == ["2026-10-31T09:00:00+00:00"] * 3
    stored = {path.name: path for path in (tmp_path / "keys").iterdir()}
    assert stored.keys() == {"qingxiu.key", "qingxiu.successions"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in stored.values())
    assert "PRIVATE" not in stored["qingxiu.successions"].read_text()


def test_a_note_of_another_key_names_no_successor() -> None:
    forged = WITNESS.sign(f"timebank-key-succession/v1\n{KEY.verifier}\n{WITNESS.verifier}\n2026-10-31T09:00:00Z\n")
    assert succeeding([KEY.verifier], [forged, "", COSIGNED, KEY.sign("timebank-key-succession/v1\na\nb\nc\n")]) == [
        KEY.verifier
    ]


@pytest.mark.parametrize(
    ("step", "nth"), [("_write_new", 1), ("_write_new", 2), ("rename", 1), ("rename", 2), ("rename", 3)]
)
def test_a_rotation_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    first = create_key(tmp_path, "qingxiu")
    calls = 0
    place = Path if step == "rename" else signing
    real = getattr(place, step)

    def dying(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(place, step, dying)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(tmp_path, "qingxiu", NOW)
    there = read_key(tmp_path, "qingxiu")
    assert there is not None
    assert there.verifier == first.verifier
    rotated = rotate_key(tmp_path, "qingxiu", NOW)
    assert rotated is not None
    assert succeeding([first.verifier], successions(tmp_path, "qingxiu")) == [first.verifier, rotated.verifier]
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"qingxiu.key", "qingxiu.successions"}


def test_sixteen_rotations_at_once_make_one_chain(tmp_path: Path) -> None:
    first = create_key(tmp_path, "qingxiu")
    with ThreadPoolExecutor(16) as pool:
        rotated = list(pool.map(lambda _: rotate_key(tmp_path, "qingxiu", NOW), range(16)))
    keys = succeeding([first.verifier], successions(tmp_path, "qingxiu"))
    assert set(keys) == {first.verifier, *(key.verifier for key in rotated if key is not None)}
    assert len(keys) == 17
    read = read_key(tmp_path, "qingxiu")
    assert read is not None
    assert read.verifier == keys[-1]
