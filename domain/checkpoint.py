"""Checkpoints and what is proven at them: the tree's size and root as C2SP tlog-checkpoint has them, and files.

    a receipt          one fact, as a C2SP tlog-proof file
    receipts           a household's facts at one checkpoint
    a consistency      that the tree of one checkpoint has grown from that of another

All are texts; who signed a checkpoint, and whether it is genuine, is the business of `infrastructure/signing.py`.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from domain.leaf import Leaf, LeafMalformed
from domain.merkle import HASH_BYTES, LEAVES_MAX, is_consistent, is_included, leaf_hash

PROOF_FORMAT: Final = "c2sp.org/tlog-proof@v1"
RECEIPTS_FORMAT: Final = "timebank-receipts/v1"
CONSISTENCY_FORMAT: Final = "timebank-consistency/v1"


class NoCheckpoint(Exception):
    """A text that is no checkpoint."""

    def __init__(self) -> None:
        super().__init__("不是检查点。 / This is no checkpoint.")


class NoReceipt(Exception):
    """A file that is no receipt, or none of a fact."""

    def __init__(self) -> None:
        super().__init__(
            "不是事实的收据（tlog-proof 文件），或被改动过。 / This is no receipt of a fact, or it was altered."
        )


class NoConsistency(Exception):
    """A file that doesn't show that a log has grown, or one that was altered."""

    def __init__(self) -> None:
        super().__init__(
            "不是两个检查点之间的一致性证明，或被改动过。 / "
            "This doesn't prove that a log has grown from one checkpoint to another, or it was altered."
        )


class Checkpoint(NamedTuple):
    """The tree of one ledger at a size. The origin is the ledger's name, as it is in its key."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @staticmethod
    def parse(text: str) -> "Checkpoint":
        """Extension lines are read over. Raises: NoCheckpoint."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise NoCheckpoint
        size, root = _number(lines[1]), _hash(lines[2])
        if size is None or root is None:
            raise NoCheckpoint
        return Checkpoint(lines[0], size, root)

    @staticmethod
    def of_note(note: str) -> "Checkpoint":
        """What a signed note says; who signed it is another's to check. Raises: NoCheckpoint."""
        return Checkpoint.parse(note.rpartition("\n\n")[0] + "\n")


def signatures(note: str) -> list[str]:
    """The lines of a signed note that are its signatures."""
    return note.rpartition("\n\n")[2].splitlines()


def signer(signature: str) -> tuple[str, bytes]:
    """The key that a signature's line names: its name and hash. Raises: ValueError."""
    _, name, encoded = signature.split(" ")
    return name, base64.b64decode(encoded, validate=True)[:4]


def joined(notes: Sequence[str]) -> str:
    """Notes of one text as one note with the signatures of all. Raises: ValueError where their texts differ."""
    (text,) = {note.rpartition("\n\n")[0] for note in notes}
    lines = dict.fromkeys(line for note in notes for line in signatures(note))
    return text + "\n\n" + "".join(f"{line}\n" for line in lines)


class Receipt(NamedTuple):
    """That a leaf is in the tree of a checkpoint: position, inclusion proof, the signed checkpoint, and the leaf."""

    position: int
    path: tuple[bytes, ...]
    checkpoint: str
    leaf: bytes

    def text(self) -> str:
        """The file; the leaf is its extra data, from which its hash is computed."""
        return f"{PROOF_FORMAT}\n{self.proof_text()}\n{self.checkpoint}"

    def proof_text(self) -> str:
        """What comes between the format's name and the checkpoint."""
        lines = [f"extra {base64.b64encode(self.leaf).decode()}", f"index {self.position - 1}"]
        return "\n".join([*lines, *map(_encoded, self.path), ""])

    @staticmethod
    def parse(text: str) -> "Receipt":
        """Raises: NoReceipt."""
        proof, _, checkpoint = text.partition("\n\n")
        format_, _, proof = proof.partition("\n")
        receipt = Receipt._of(proof, checkpoint)
        if format_ != PROOF_FORMAT or receipt.text() != text:
            raise NoReceipt
        return receipt

    @staticmethod
    def _of(proof: str, checkpoint: str) -> "Receipt":
        """Raises: NoReceipt."""
        lines = proof.split("\n")
        if len(lines) < 2:
            raise NoReceipt
        extra, index = lines[0].removeprefix("extra "), _number(lines[1].removeprefix("index "))
        try:
            leaf = base64.b64decode(extra, validate=True)
        except ValueError:
            raise NoReceipt from None
        path = _hashes(lines[2:])
        if index is None or path is None:
            raise NoReceipt
        return Receipt(index + 1, path, checkpoint, leaf)

    def proven(self, checkpoint: Checkpoint) -> Leaf:
        """The fact that it proves, at that checkpoint, whose signatures others have checked. Raises: NoReceipt."""
        if not is_included(leaf_hash(self.leaf), self.position - 1, checkpoint.size, self.path, checkpoint.root):
            raise NoReceipt
        try:
            leaf = Leaf.parse(self.leaf)
        except LeafMalformed:
            raise NoReceipt from None
        # A leaf says itself where it stands: one that stands elsewhere is no fact of this ledger.
        if leaf.position != self.position or leaf.ledger != checkpoint.origin:
            raise NoReceipt
        return leaf


class Receipts(NamedTuple):
    """Receipts of a household's facts in the order of their positions, all of one checkpoint."""

    household: str
    receipts: tuple[Receipt, ...]
    checkpoint: str

    def text(self) -> str:
        """The file: each proof, and last the checkpoint."""
        proofs = "".join(receipt.proof_text() + "\n" for receipt in self.receipts)
        return receipts_head(self.household) + proofs + self.checkpoint

    @staticmethod
    def parse(text: str) -> "Receipts":
        """Raises: NoReceipt."""
        head, *proofs = parts_of(text)
        if len(proofs) < 2:
            raise NoReceipt
        checkpoint = f"{proofs[-2]}\n\n{proofs[-1]}\n"
        format_, _, household = head.partition("\nhousehold ")
        proofs = proofs[:-2]
        found = Receipts(household, tuple(Receipt._of(proof, checkpoint) for proof in proofs), checkpoint)
        positions = [receipt.position for receipt in found.receipts]
        if format_ != RECEIPTS_FORMAT or found.text() != text or positions != sorted(set(positions)):
            raise NoReceipt
        return found


def receipts_head(household: str) -> str:
    """How a file of a household's receipts begins."""
    return f"{RECEIPTS_FORMAT}\nhousehold {household}\n\n"


class Consistency(NamedTuple):
    """That the tree of one checkpoint has grown from that of an older one: the proof, and both as they were signed."""

    older: str
    newer: str
    path: tuple[bytes, ...]

    def text(self) -> str:
        """The file."""
        head = "\n".join([CONSISTENCY_FORMAT, *map(_encoded, self.path), ""])
        return f"{head}\n{self.older}\n{self.newer}"

    @staticmethod
    def parse(text: str) -> "Consistency":
        """Raises: NoConsistency."""
        parts = parts_of(text)
        if len(parts) != 5:
            raise NoConsistency
        head, older, older_signatures, newer, newer_signatures = parts
        format_, *lines = head.split("\n")
        path = _hashes(lines)
        if format_ != CONSISTENCY_FORMAT or path is None:
            raise NoConsistency
        return Consistency(f"{older}\n\n{older_signatures}\n", f"{newer}\n\n{newer_signatures}\n", path)

    def require(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Hold the proof to both checkpoints, whose signatures others have checked. Raises: NoConsistency."""
        if older.origin != newer.origin or not is_consistent(*older[1:], *newer[1:], self.path):
            raise NoConsistency


def parts_of(text: str) -> list[str]:
    """What empty lines part in a text of ended lines; a note has two such parts, its text and who signed it."""
    parts = text.removesuffix("\n").split("\n\n")
    whole = text.endswith("\n") and not any(part.startswith("\n") or part.endswith("\n") for part in parts)
    return parts if whole else [""]


def _encoded(hashed: bytes) -> str:
    return base64.b64encode(hashed).decode()


def _hashes(lines: Iterable[str]) -> tuple[bytes, ...] | None:
    """None where one of the lines is no hash."""
    found = [_hash(line) for line in lines]
    return None if None in found else tuple(one for one in found if one is not None)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,18}", text) and int(text) <= LEAVES_MAX else None


def _hash(text: str) -> bytes | None:
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return decoded if len(decoded) == HASH_BYTES and base64.b64encode(decoded).decode() == text else None
