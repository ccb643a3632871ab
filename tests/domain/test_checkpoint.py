"""Checkpoints and receipts: read as they are written, and in no other way."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.checkpoint import Checkpoint, NoCheckpoint, NoReceipt, Receipt, joined, signatures, signer
from domain.leaf import Leaf
from domain.merkle import Frontier, inclusion_ranges, leaf_hash, proof

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
