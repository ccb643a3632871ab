"""Checkpoints and receipts: the tree's size and root as C2SP tlog-checkpoint has them, and tlog-proof files.

Both are texts; who signed a checkpoint, and whether it is genuine, is the business of `infrastructure/signing.py`.
"""

import base64
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from domain.leaf import Leaf, LeafMalformed
from domain.merkle import HASH_BYTES, LEAVES_MAX, is_included, leaf_hash

PROOF_FORMAT: Final = "c2sp.org/tlog-proof@v1"


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
        lines = [PROOF_FORMAT, f"extra {base64.b64encode(self.leaf).decode()}", f"index {self.position - 1}"]
        lines += [base64.b64encode(one).decode() for one in self.path]
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @staticmethod
    def parse(text: str) -> "Receipt":
        """Raises: NoReceipt."""
        proof, _, checkpoint = text.partition("\n\n")
        lines = proof.split("\n")
        if len(lines) < 3 or lines[0] != PROOF_FORMAT:
            raise NoReceipt
        extra, index = lines[1].removeprefix("extra "), _number(lines[2].removeprefix("index "))
        try:
            leaf = base64.b64decode(extra, validate=True)
        except ValueError:
            raise NoReceipt from None
        path = [_hash(line) for line in lines[3:]]
        if index is None or not all(path):
            raise NoReceipt
        receipt = Receipt(index + 1, tuple(one for one in path if one is not None), checkpoint, leaf)
        if receipt.text() != text:
            raise NoReceipt
        return receipt

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


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,18}", text) and int(text) <= LEAVES_MAX else None


def _hash(text: str) -> bytes | None:
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return decoded if len(decoded) == HASH_BYTES and base64.b64encode(decoded).decode() == text else None
