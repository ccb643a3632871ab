"""Checkpoints and receipts: read as they are written, and in no other way."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.checkpoint import (
    Checkpoint,
    Consistency,
    NoCheckpoint,
    NoConsistency,
    NoReceipt,
    Receipt,
    Receipts,
    joined,
    signatures,
    signer,
)
from domain.leaf import Leaf
from domain.merkle import Frontier, consistency_ranges, inclusion_ranges, leaf_hash, proof

LEAVES = [
    Leaf("qingxiu", position, 1_761_000_000_000_000, "a.v1", (f"a:{position}",), b"{}") for position in range(1, 8)
]
ENCODED = [leaf.encoded() for leaf in LEAVES]


def tree(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


TREE = tree(ENCODED)
CHECKPOINT = Checkpoint("qingxiu", 7, TREE.root())
SIGNED = CHECKPOINT.text() + "\n— qingxiu AAAA\n"


def receipt(position: int) -> Receipt:
    path = proof(inclusion_ranges(position - 1, 7), 7, lambda tile: TREE.partial[tile.level])
    return Receipt(position, tuple(path), SIGNED, ENCODED[position - 1])


def test_notes_of_one_text_are_joined_with_each_signature_once() -> None:
    text = CHECKPOINT.text()
    one, other = text + "\n— qingxiu AAAABBBB\n", text + "\n— qingxiu AAAABBBB\n— witness BBBBAAAA\n"
    assert joined([one, other]) == joined([other, one]) == other
    assert joined([one]) == one
    assert Checkpoint.of_note(other) == CHECKPOINT
    assert [signer(line) for line in signatures(other)] == [("qingxiu", b"\0\0\0\x04"), ("witness", b"\4\x10A\0")]
    with pytest.raises(ValueError, match="unpack"):
        joined([one, one.replace("\n7\n", "\n8\n")])
    for line in ("", "— qingxiu", "— qingxiu A", "— qing xiu AAAABBBB"):
        with pytest.raises(ValueError, match=r".*"):
            signer(line)


def test_a_checkpoint_reads_as_other_programs_write_it() -> None:
    """The example of C2SP tlog-checkpoint."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = Checkpoint.parse(text)
    assert checkpoint[:2] == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == text
    assert Checkpoint.parse(text + "an extension\n") == checkpoint


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qingxiu\n1\n",
        f"qingxiu\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"qingxiu\n01\n{ROOT}\n",
        f"qingxiu\n-1\n{ROOT}\n",
        f"qingxiu\n+1\n{ROOT}\n",
        f"qingxiu\n١\n{ROOT}\n",
        f"qingxiu\n9223372036854775807\n{ROOT}\n",
        f"qingxiu\n1\n{ROOT[:-1]}\n",
        f"qingxiu\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"qingxiu\n1\n{ROOT[:-2]}B=\n",
        f"qingxiu\n1\n{ROOT}\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoCheckpoint):
        Checkpoint.parse(text)


def test_a_receipt_is_written_line_by_line_as_specified() -> None:
    lines = receipt(3).text().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "extra " + base64.b64encode(ENCODED[2]).decode()
    assert lines[2] == "index 2"
    assert [base64.b64decode(line) for line in lines[3:6]] == list(receipt(3).path)
    assert lines[3] == base64.b64encode(leaf_hash(ENCODED[3])).decode()
    assert "\n".join(lines[6:]) == "\n" + SIGNED


@pytest.mark.parametrize("position", range(1, 8))
def test_a_receipt_proves_its_fact(position: int) -> None:
    read = Receipt.parse(receipt(position).text())
    assert read == receipt(position)
    assert read.proven(CHECKPOINT) == LEAVES[position - 1]


def test_a_receipt_of_a_single_fact_has_no_path() -> None:
    alone = Checkpoint("qingxiu", 1, leaf_hash(ENCODED[0]))
    text = Receipt(1, (), alone.text() + "\n— qingxiu AAAA\n", ENCODED[0]).text()
    assert Receipt.parse(text).proven(alone) == LEAVES[0]


@given(st.integers(0, len(receipt(3).text().encode()) - 1), st.integers(1, 255))
def test_a_receipt_with_any_byte_altered_proves_nothing(at: int, change: int) -> None:
    """The checkpoint in it is held to its signature, so here it may say what it likes."""
    altered = bytearray(receipt(3).text().encode())
    altered[at] ^= change
    text = altered.decode(errors="surrogateescape")
    try:
        read = Receipt.parse(text)
    except NoReceipt:
        return
    if read.checkpoint == SIGNED:
        with pytest.raises(NoReceipt):
            read.proven(CHECKPOINT)


def test_a_leaf_that_stands_elsewhere_or_is_of_another_ledger_is_no_fact_of_this_one() -> None:
    for leaf in (LEAVES[0]._replace(position=2), LEAVES[0]._replace(ledger="xingning")):
        alone = Checkpoint("qingxiu", 1, leaf_hash(leaf.encoded()))
        with pytest.raises(NoReceipt):
            Receipt(1, (), "", leaf.encoded()).proven(alone)
    with pytest.raises(NoReceipt):
        Receipt(1, (), "", b"no leaf").proven(Checkpoint("qingxiu", 1, leaf_hash(b"no leaf")))


# ── A household's receipts ───────────────────────────────────────────────────────────────────────────────────────

RECEIPTS = Receipts("H1", tuple(receipt(position) for position in (1, 4, 7)), SIGNED)


def test_a_file_of_receipts_reads_as_it_is_written_and_each_is_a_receipt() -> None:
    found = Receipts.parse(RECEIPTS.text())
    assert found == RECEIPTS
    for one in found.receipts:
        assert Receipt.parse(one.text()) == one
        assert one.proven(CHECKPOINT).position == one.position


@pytest.mark.parametrize(
    "altered",
    [
        "",
        RECEIPTS.text()[:-1],
        RECEIPTS.text().removesuffix(SIGNED),
        RECEIPTS.text().replace("household ", "house "),
        RECEIPTS.text().replace("index 3", "index 03"),
        RECEIPTS.text().replace("\n\n", "\n\n\n", 1),
        Receipts("H1", RECEIPTS.receipts[::-1], SIGNED).text(),
        Receipts("H1", RECEIPTS.receipts[:1] * 2, SIGNED).text(),
        receipt(1).text(),
    ],
)
def test_what_is_no_file_of_receipts_is_refused(altered: str) -> None:
    with pytest.raises(NoReceipt):
        Receipts.parse(altered)


# ── Consistency ──────────────────────────────────────────────────────────────────────────────────────────────────


def consistency(older: int, newer: int = 7) -> Consistency:
    seen = tree(ENCODED[:newer])
    path = proof(consistency_ranges(older, newer), newer, lambda tile: seen.partial[tile.level])
    notes = (of(size).text() + "\n— qingxiu AAAA\n— a.b/c BBBB\n" for size in (older, newer))
    return Consistency(*notes, tuple(path))


def of(size: int) -> Checkpoint:
    return Checkpoint("qingxiu", size, tree(ENCODED[:size]).root())


@given(st.integers(1, 7), st.integers(1, 7))
def test_a_consistency_reads_as_it_is_written_and_holds(one: int, other: int) -> None:
    found = consistency(min(one, other), max(one, other))
    assert Consistency.parse(found.text()) == found
    found.require(of(min(one, other)), of(max(one, other)))


@pytest.mark.parametrize(
    "altered",
    [
        "",
        consistency(3).text()[:-1],
        consistency(3).text() + "\n",
        consistency(3).text().replace("timebank-consistency/v1", "timebank-consistency/v2"),
        consistency(3).text().replace("\n\n", "\n\n\n", 1),
        consistency(3).text().replace("\n", "\nAAAA\n", 1),
        consistency(3).newer,
    ],
)
def test_what_is_no_consistency_is_refused(altered: str) -> None:
    with pytest.raises(NoConsistency):
        Consistency.parse(altered)


@given(st.integers(1, 6), st.data())
def test_a_consistency_of_which_a_bit_is_another_does_not_hold(older: int, data: st.DataObject) -> None:
    found = consistency(older)
    bits = data.draw(st.integers(0, len(found.path) * 256 - 1))
    path = [bytearray(one) for one in found.path]
    path[bits // 256][bits // 8 % 32] ^= 1 << bits % 8
    with pytest.raises(NoConsistency):
        found._replace(path=tuple(map(bytes, path))).require(of(older), CHECKPOINT)


def test_a_consistency_between_two_logs_or_the_wrong_way_round_does_not_hold() -> None:
    found = consistency(3)
    for older, newer in (
        (of(3)._replace(origin="xingning"), CHECKPOINT),
        (CHECKPOINT, of(3)),
        (of(2), CHECKPOINT),
        (of(3)._replace(root=bytes(32)), CHECKPOINT),
    ):
        with pytest.raises(NoConsistency):
            found.require(older, newer)
