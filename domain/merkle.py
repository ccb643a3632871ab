"""The Merkle tree over the journal's leaves: RFC 6962 with SHA-256, its proofs, and the tiles that it is kept in.

    leaf   SHA-256(0x00 ‖ leaf)
    node   SHA-256(0x01 ‖ left ‖ right); the left subtree is the largest perfect one that is not all of the tree
    tile   256 consecutive hashes of one level (C2SP tlog-tiles); those of level n+1 are of full tiles of level n

A `Frontier` takes leaf hashes in and gives full tiles out. It keeps only the last tile of each level, which is all that
the root and the next leaves need. Proofs are computed from tiles, and verified without any (RFC 9162, 2.1.3.2 and
2.1.4.2), by other code than that which makes them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_HASHES: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_HASHES * HASH_BYTES
TILE_LEVEL_MAX: Final = 63
LEAVES_MAX: Final = 1 << 62
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> bytes:
    """The hashes of many leaves, one behind the other."""
    new = sha256
    return b"".join([new(b"\x00" + leaf).digest() for leaf in leaves])


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: bytes) -> bytes:
    """The root over hashes that are a power of two in number."""
    new = sha256
    while len(hashes) > HASH_BYTES:
        hashes = b"".join([new(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])
    return hashes


class Tile(NamedTuple):
    """Where a tile is: its level, its number within the level, and how many hashes it holds (256: it is full)."""

    level: int
    number: int
    width: int = TILE_HASHES

    @property
    def path(self) -> str:
        """As C2SP tlog-tiles has it, such as ``0/x001/234`` or ``0/x001/234.p/5``."""
        return f"{self.level}/{number_path(self.number, self.width)}"

    @staticmethod
    def parse(path: str) -> "Tile":
        """Raises: ValueError for what no tile's path looks like."""
        level, _, rest = path.partition("/")
        if not re.fullmatch("0|[1-9][0-9]?", level) or int(level) > TILE_LEVEL_MAX:
            raise ValueError(f"not the path of a tile: {path}")
        return Tile(int(level), *parse_number_path(rest))


def number_path(number: int, width: int = TILE_HASHES) -> str:
    """A tile's number as a path: three digits an element, ``x`` before all but the last; a width below 256."""
    text = str(number)
    text = "0" * (-len(text) % 3) + text
    elements = [text[at : at + 3] for at in range(0, len(text), 3)]
    partial = "" if width == TILE_HASHES else f".p/{width}"
    return "/".join(["x" + element for element in elements[:-1]] + elements[-1:]) + partial


_NUMBER_PATH: Final = re.compile(r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def parse_number_path(path: str) -> tuple[int, int]:
    """Number and width; only what `number_path` writes. Raises: ValueError."""
    found = _NUMBER_PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"not the path of a tile: {path}")
    number, width = int(found[1].replace("x", "").replace("/", "")), int(found[2] or TILE_HASHES)
    if number_path(number, width) != path:
        raise ValueError(f"not the path of a tile: {path}")
    return number, width


def tile_width(size: int, level: int, number: int) -> int:
    """How many hashes a tile holds in a tree of so many leaves: 0 to 256."""
    return max(0, min(TILE_HASHES, (size >> TILE_HEIGHT * level) - number * TILE_HASHES))


def tiles_in(size: int) -> Iterator[Tile]:
    """All tiles of a tree of so many leaves, full and partial: level by level, each in order."""
    level = 0
    while (width := size >> TILE_HEIGHT * level) > 0:
        for number in range(-(-width // TILE_HASHES)):
            yield Tile(level, number, tile_width(size, level, number))
        level += 1


class Frontier:
    """A tree's size, and the hashes of its last, partial tile of each level: whatever it needs to go on growing."""

    def __init__(self, size: int = 0, partial: Sequence[bytes] = ()) -> None:
        """Raises: ValueError where the tiles aren't those of a tree of that size."""
        self.size = size
        self.partial = list(partial)
        while self.partial and not self.partial[-1]:
            self.partial.pop()
        wanted = []
        while size:
            wanted.append(size % TILE_HASHES * HASH_BYTES)
            size >>= TILE_HEIGHT
        while wanted and not wanted[-1]:
            wanted.pop()
        if [len(hashes) for hashes in self.partial] != wanted:
            raise ValueError(f"no frontier of {self.size} leaves")

    def extend(self, hashes: bytes) -> list[tuple[Tile, bytes]]:
        """Take leaf hashes in, one behind the other; returns the tiles that became full, with their hashes."""
        full: list[tuple[Tile, bytes]] = []
        self.size += len(hashes) // HASH_BYTES
        level = 0
        while hashes:
            if level == len(self.partial):
                self.partial.append(b"")
            hashes = self.partial[level] + hashes
            ends = len(hashes) // TILE_BYTES * TILE_BYTES
            first = (self.size >> TILE_HEIGHT * (level + 1)) - ends // TILE_BYTES
            roots = []
            for number, at in enumerate(range(0, ends, TILE_BYTES), first):
                tile = hashes[at : at + TILE_BYTES]
                full.append((Tile(level, number), tile))
                roots.append(perfect_root(tile))
            self.partial[level] = hashes[ends:]
            hashes, level = b"".join(roots), level + 1
        return full

    def append(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Take one leaf in; returns the tiles that became full."""
        return self.extend(leaf_hash(leaf))

    def root(self) -> bytes:
        """The root over all leaves taken in."""
        perfect: list[bytes] = []  # from the right, smallest first
        for hashes in self.partial:
            while hashes:
                width = len(hashes) // HASH_BYTES
                last = (width & -width) * HASH_BYTES
                perfect.append(perfect_root(hashes[-last:]))
                hashes = hashes[:-last]
        return _joined(perfect[::-1])


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaves, by their hashes."""
    frontier = Frontier()
    frontier.extend(b"".join(leaf_hashes))
    return frontier.root()


def _joined(perfect: Sequence[bytes]) -> bytes:
    """The root over neighbouring perfect subtrees, the largest first."""
    if not perfect:
        return EMPTY_ROOT
    joined = perfect[-1]
    for left in perfect[-2::-1]:
        joined = node_hash(left, joined)
    return joined


# ── Making proofs ────────────────────────────────────────────────────────────────────────────────────────────────

Range = tuple[int, int]
"""The leaves from the first up to but without the second, which are all those of one node of the tree."""
ReadTile = Callable[[Tile], bytes]
"""The hashes of a tile, of its first ``width`` ones at least. Full tiles don't change; partial ones are of one tree."""


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The nodes that prove a leaf's inclusion, from its sibling upwards (RFC 6962, 2.1.1). Raises: ValueError."""
    if not 0 <= index < size <= LEAVES_MAX:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    start, end = 0, size
    ranges = []
    while end - start > 1:
        middle = start + _left_leaves(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[Range]:
    """The nodes that prove that a tree began as a smaller one (RFC 6962, 2.1.2). Raises: ValueError."""
    if not 0 <= old_size <= size <= LEAVES_MAX:
        raise ValueError(f"a tree of {size} didn't begin as one of {old_size}")
    if old_size in (0, size):
        return []
    start, end = 0, size
    ranges = []
    while old_size != end:
        middle = start + _left_leaves(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    # The old tree's own root need not be told.
    return ([(start, end)] if start else []) + ranges[::-1]


def _left_leaves(leaves: int) -> int:
    """How many of a node's leaves its left child has: the largest power of two that is less."""
    return 1 << (leaves - 1).bit_length() - 1


def tiles_of(ranges: Iterable[Range], size: int) -> list[Tile]:
    """The tiles of a tree of that size that hold the nodes."""
    needed = {_tile_of(height, index, size)[0] for one in ranges for height, index in _perfect(*one)}
    return sorted(needed)


def proof(ranges: Iterable[Range], size: int, read_tile: ReadTile) -> list[bytes]:
    """The hashes of nodes, out of the tiles of a tree of that size."""
    return [
        _joined([_perfect_hash(height, index, size, read_tile) for height, index in _perfect(*one)]) for one in ranges
    ]


def root_of(size: int, read_tile: ReadTile) -> bytes:
    """The root of a tree of that size, out of its tiles."""
    return proof([(0, size)], size, read_tile)[0]


def _perfect(start: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees of a node: the height of each, and its index among those of that height."""
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append((height, start >> height))
        start += 1 << height
    return found


def _tile_of(height: int, index: int, size: int) -> tuple[Tile, int]:
    """The tile that a perfect subtree's hashes are in, and the first of them."""
    level, above = divmod(height, TILE_HEIGHT)
    number, first = divmod(index << above, TILE_HASHES)
    return Tile(level, number, tile_width(size, level, number)), first


def _perfect_hash(height: int, index: int, size: int, read_tile: ReadTile) -> bytes:
    tile, first = _tile_of(height, index, size)
    hashes = read_tile(tile)[first * HASH_BYTES : (first + (1 << height % TILE_HEIGHT)) * HASH_BYTES]
    return perfect_root(hashes)


# ── Verifying them ───────────────────────────────────────────────────────────────────────────────────────────────


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf, by its hash, is at an index of the tree with that root, as the proof says."""
    if not 0 <= index < size <= LEAVES_MAX or any(len(one) != HASH_BYTES for one in (leaf, root, *path)):
        return False
    at, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree with that root began as the smaller one, as the proof says."""
    if not 0 <= old_size <= size <= LEAVES_MAX or any(len(one) != HASH_BYTES for one in (old_root, root, *path)):
        return False
    if size == 0 and root != EMPTY_ROOT:
        return False
    if old_size == 0:
        return old_root == EMPTY_ROOT and not path
    if old_size == size:
        return old_root == root and not path
    if not path:
        return False
    nodes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found_old = found = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            found_old, found = node_hash(node, found_old), node_hash(node, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, node)
        at, last = at >> 1, last >> 1
    return last == 0 and found_old == old_root and found == root
