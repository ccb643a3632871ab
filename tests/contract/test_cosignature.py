"""Cosignatures at the ledger: taken from whom the operator has named, once each, and carried by every checkpoint."""

import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection

from domain.checkpoint import Checkpoint
from domain.witness import Cosignature
from infrastructure.cosignature import (
    AHEAD_SECONDS_MAX,
    WITNESSES_MAX,
    CosignatureRefused,
    TooManyWitnesses,
    distrust,
    keep_cosignature,
    trust,
    trusted_witnesses,
)
from infrastructure.journal import PostgresJournal
from infrastructure.log import (
    Sealer,
    SignedSize,
    checkpoint_of,
    checkpoints,
    consistency,
    newest_checkpoint,
    receipt,
    signed_size,
)
from infrastructure.schema import SERVICE_ROLE
from infrastructure.signing import CosigningKey, NotCosigned, SigningKey, cosignatures, require_cosigned, verified
from tests.contract.test_log import LEDGER, RACERS, asked, key, new_sealer, record

__all__ = ["key", "new_sealer"]  # fixtures

T = TypeVar("T")
WITNESSES = [
    CosigningKey(f"audit.example/a{number}", Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))
    for number in range(WITNESSES_MAX + 1)
]
WITNESS = WITNESSES[0]


@pytest.fixture
def sealer(journal: PostgresJournal, new_sealer: Callable[[], Sealer]) -> Sealer:
    """Of a log whose checkpoints hold 5, 300 and 310 facts."""
    sealer = new_sealer()
    for count in (5, 295, 10):
        record(journal, count)
        sealer.catch_up()
        sealer.sign()
    return sealer


def as_service(journal_url: str, query: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    return asked(psycopg.conninfo.make_conninfo(journal_url, options=f"-c role={SERVICE_ROLE}"), query)


def trusted(journal_url: str, *witnesses: CosigningKey) -> None:
    with psycopg.connect(journal_url) as connection:
        for one in witnesses:
            trust(connection, LEDGER, one.verifier)


def signed(journal_url: str, size: int) -> str:
    note = as_service(journal_url, lambda connection: checkpoint_of(connection, LEDGER, size))
    assert note is not None
    return note


def line(journal_url: str, size: int, witness: CosigningKey = WITNESS, seconds: int | None = None) -> str:
    text = signed(journal_url, size).partition("\n\n")[0] + "\n"
    return witness.cosign(text, int(time.time()) if seconds is None else seconds).line()


def hand_in(journal_url: str, size: int, given: str) -> Cosignature | None:
    return as_service(journal_url, lambda connection: keep_cosignature(connection, LEDGER, size, given))


@pytest.mark.usefixtures("sealer")
def test_a_trusted_witnesss_cosignature_is_on_every_copy_of_its_checkpoint_from_then_on(
    journal_url: str, key: Callable[[], SigningKey]
) -> None:
    trusted(journal_url, WITNESS)
    before = {size: signed(journal_url, size) for size in (5, 300, 310)}
    for size in (300, 310):
        given = line(journal_url, size)
        assert hand_in(journal_url, size, given) == Cosignature.parse(given)
        assert signed(journal_url, size) == before[size] + given
    assert signed(journal_url, 5) == before[5]
    newest = as_service(journal_url, lambda connection: newest_checkpoint(connection, LEDGER))
    assert newest == signed(journal_url, 310)
    assert Checkpoint.parse(verified(newest, [key().verifier])).size == 310
    assert list(require_cosigned(newest, [WITNESS.verifier])) == [WITNESS.verifier]
    with pytest.raises(NotCosigned, match=r"audit\.example/a1 has not cosigned"):
        require_cosigned(newest, [WITNESS.verifier, WITNESSES[1].verifier])
    listed = as_service(journal_url, lambda connection: checkpoints(connection, LEDGER, 5, 10))
    assert [(one.size, one.cosignatures) for one in listed] == [(300, 1), (310, 1)]
    assert all(isinstance(one, SignedSize) and one.signed_at.tzinfo is not None for one in listed)


@pytest.mark.usefixtures("sealer")
def test_nobodys_cosignature_is_taken_unless_the_operator_has_named_them(journal_url: str) -> None:
    given = line(journal_url, 300)
    with pytest.raises(CosignatureRefused):
        hand_in(journal_url, 300, given)
    trusted(journal_url, WITNESSES[1])
    with pytest.raises(CosignatureRefused):
        hand_in(journal_url, 300, given)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_service(
            journal_url,
            lambda connection: connection.execute("INSERT INTO log_witnesses VALUES ('qingxiu', 'x')"),
        )


@pytest.mark.usefixtures("sealer")
def test_what_is_no_cosignature_of_that_checkpoint_is_refused(journal_url: str, key: Callable[[], SigningKey]) -> None:
    trusted(journal_url, WITNESS)
    good = line(journal_url, 300)
    impostor = CosigningKey(WITNESS.verifier.name, Ed25519PrivateKey.generate())
    forged = Cosignature.parse(line(journal_url, 300, impostor))._replace(hash=WITNESS.verifier.hash).line()
    later = Cosignature.parse(good)._replace(seconds=int(time.time()) - 5).line()
    ahead = line(journal_url, 300, seconds=int(time.time()) + AHEAD_SECONDS_MAX + 60)
    own = key().sign("qingxiu\n").splitlines(keepends=True)[-1]
    for given in ("", "\n", good[:-1], good * 2, line(journal_url, 310), forged, later, ahead, own, "— a b\n"):
        with pytest.raises(CosignatureRefused):
            hand_in(journal_url, 300, given)
    assert hand_in(journal_url, 299, good) is None
    assert signed(journal_url, 300).count("— ") == 1


@pytest.mark.usefixtures("sealer")
def test_the_first_cosignature_of_a_witness_stays(journal_url: str) -> None:
    trusted(journal_url, WITNESS)
    now = int(time.time())
    first, second = (line(journal_url, 300, seconds=seconds) for seconds in (now - 100, now - 50))
    assert hand_in(journal_url, 300, first) == hand_in(journal_url, 300, second) == Cosignature.parse(first)
    with psycopg.connect(journal_url) as connection:
        assert distrust(connection, LEDGER, WITNESS.verifier)
        assert not distrust(connection, LEDGER, WITNESS.verifier)
    assert signed(journal_url, 300).endswith(first)
    with pytest.raises(CosignatureRefused):
        hand_in(journal_url, 310, line(journal_url, 310))


@pytest.mark.usefixtures("sealer")
def test_sixteen_who_hand_in_at_once_are_all_given_what_was_kept_first(journal_url: str) -> None:
    trusted(journal_url, *WITNESSES[:4])
    now, barrier = int(time.time()), threading.Barrier(RACERS)
    given = [line(journal_url, 300, WITNESSES[n % 4], now - n) for n in range(RACERS)]

    def race(one: str) -> Cosignature | None:
        barrier.wait()
        return hand_in(journal_url, 300, one)

    with ThreadPoolExecutor(RACERS) as pool:
        kept = list(pool.map(race, given))
    note = signed(journal_url, 300)
    carried = cosignatures(note, [one.verifier for one in WITNESSES])
    assert {*kept} == {*carried.values()}
    assert [one.verifier for one in WITNESSES[:4]] == sorted(carried, key=lambda one: one.name)
    assert note.count("— ") == 5


def test_no_more_witnesses_are_trusted_than_a_checkpoint_has_room_for(journal_url: str, sealer: Sealer) -> None:
    trusted(journal_url, *WITNESSES[:WITNESSES_MAX])
    trusted(journal_url, WITNESS)  # again
    with pytest.raises(TooManyWitnesses):
        trusted(journal_url, WITNESSES[WITNESSES_MAX])
    found = as_service(journal_url, lambda connection: trusted_witnesses(connection, LEDGER))
    assert {*found} == {one.verifier for one in WITNESSES[:WITNESSES_MAX]}
    for one in WITNESSES[:WITNESSES_MAX]:
        hand_in(journal_url, 310, line(journal_url, 310, one))
    assert len(require_cosigned(signed(journal_url, 310), found)) == WITNESSES_MAX
    assert sealer.sign() is not None


def test_a_receipt_is_of_the_checkpoint_that_most_witnesses_have_cosigned_and_that_holds_its_fact(
    journal_url: str, sealer: Sealer, journal: PostgresJournal, key: Callable[[], SigningKey]
) -> None:
    def size_of(position: int) -> int:
        found = asked(journal_url, lambda connection: receipt(connection, LEDGER, position))
        assert found is not None
        checkpoint = Checkpoint.parse(verified(found.checkpoint, [key().verifier]))
        assert found.proven(checkpoint).position == position
        return signed_size(found.checkpoint)

    trusted(journal_url, *WITNESSES[:2])
    record(journal, 700)
    sealer.catch_up()
    sealer.sign()
    assert [size_of(position) for position in (1, 301, 311)] == [1_010, 1_010, 1_010]
    hand_in(journal_url, 5, line(journal_url, 5))
    hand_in(journal_url, 300, line(journal_url, 300))
    assert [size_of(position) for position in (1, 5, 6, 300, 301)] == [300, 300, 300, 300, 1_010]
    hand_in(journal_url, 310, line(journal_url, 310))
    hand_in(journal_url, 300, line(journal_url, 300, WITNESSES[1]))
    assert [size_of(position) for position in (1, 300, 301, 310, 311)] == [300, 300, 310, 310, 1_010]


@pytest.mark.usefixtures("sealer")
def test_any_two_checkpoints_are_proven_to_be_of_one_log(journal_url: str, key: Callable[[], SigningKey]) -> None:
    trusted(journal_url, WITNESS)
    hand_in(journal_url, 310, line(journal_url, 310))
    for older, newer in ((5, 300), (5, 310), (300, 310), (310, 310)):
        for cosigned in (False, True):
            found = asked(
                journal_url,
                lambda c, o=older, n=newer, w=cosigned: consistency(c, LEDGER, o, n, cosigned=w),
            )
            assert found is not None
            notes = (found.older, found.newer)
            found.require(*(Checkpoint.parse(verified(note, [key().verifier])) for note in notes))
            assert [signed_size(note) for note in notes] == [older, newer]
            assert (WITNESS.verifier in cosignatures(found.newer, [WITNESS.verifier])) is (cosigned and newer == 310)
    for older, newer in ((5, 6), (4, 310), (310, 5), (0, 5)):
        assert asked(journal_url, lambda c, o=older, n=newer: consistency(c, LEDGER, o, n)) is None
