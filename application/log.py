"""The log computed again from the facts: every leaf re-hashed, and held to the tree that was sealed and signed.

Where a leaf isn't the one that was sealed, it is told which of both was changed: a tile is believed where it hashes to
the one above it, and so on up to a root that was signed. So a changed fact is one finding, and not one for each tile
above it, and a changed tile doesn't make facts look changed.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from application.finding import (
    CHANGED,
    ENTRIES,
    GAP,
    INSERTED,
    LINE_CHANGED,
    OTHER_ROOT,
    REMOVED,
    SWAPPED,
    TAIL_REMOVED,
    TILE,
    UNREADABLE,
    Finding,
    Findings,
)
from domain.leaf import Leaf, LeafMalformed, LeafTooLong, bundle, encoder, parted, unbundled
from domain.merkle import (
    HASH_BYTES,
    TILE_HASHES,
    Frontier,
    Tile,
    leaf_hash,
    leaf_hashes,
    perfect_root,
    root_of,
    tile_width,
)

Row = tuple[int, int, str, Sequence[str], bytes]
"""A fact as it is stored: position, recorded-at (Unix microseconds), type, tags, data."""
ReadTile = Callable[[Tile], bytes | None]
ReadEntries = Callable[[int, int], bytes | None]
"""An entry bundle by its number and width."""
_ENTRIES_PLACE: Final = "log/tile/entries"


class Relog:
    """A fold over stored facts in their order, up to a log's size.

    ``roots`` are those that were signed, each with the place of its checkpoint, by their size. ``read_tile`` reads the
    sealed tiles, and ``read_entries`` the entry bundles, where there are any beside the facts themselves.
    """

    def __init__(
        self,
        ledger: str,
        size: int,
        roots: Mapping[int, Sequence[tuple[str, bytes]]],
        read_tile: ReadTile,
        read_entries: ReadEntries | None = None,
    ) -> None:
        self.size = size
        self.findings = Findings()
        self._ledger = ledger
        self._encode = encoder(ledger)
        self._roots = {at: list(places) for at, places in roots.items()}
        self._sizes = sorted(at for at in roots if 0 < at <= size)
        self._newest = max(self._sizes, default=0)
        self._read_tile = read_tile
        self._read_entries = read_entries
        self._frontier = Frontier()
        self._rows: list[Row | None] = []
        self._expected = 1
        self._shifted = False
        self._beyond = 0
        """Facts after all that were sealed."""

    @property
    def frontier(self) -> Frontier:
        """The tree of all facts so far, whole tiles alone until `close`."""
        return self._frontier

    def fold(self, rows: Iterable[Row]) -> None:
        for row in rows:
            position = row[0]
            if position != self._expected:
                if self._expected < position <= self.size:
                    while self._expected < position:
                        self.missing(REMOVED, "没有这条事实", "there is no such fact")
                else:
                    expected = self._expected
                    self._find(
                        GAP,
                        position,
                        f"应为位置 {expected}",
                        f"position {expected} was expected",
                        row[2],
                    )
                    if position < expected:
                        continue
            if self._expected > self.size:
                self._beyond += 1
                self._expected += 1
                continue
            self._take(row)

    def fold_entries(self, position: int, entries: bytes, lengths: Sequence[int]) -> bool:
        """Take in a whole tile of leaves, bundled, the first of them at a position, if all is as it was sealed. If
        anything isn't, nothing is taken in: `fold` finds what it is. ``lengths`` are the leaves' own."""
        first, count = position - 1, len(lengths)
        tile = Tile(0, first // TILE_HASHES, count)
        if position != self._expected or self._frontier.size != first or first % TILE_HASHES:
            return False
        if count != tile_width(self.size, 0, tile.number):
            return False
        if self._read_entries is not None and self._read_entries(tile.number, count) != entries:
            return False
        hashes = leaf_hashes(parted(entries, lengths))
        if self._read_tile(tile) != hashes:
            return False
        self._expected += count
        self._grow(hashes)
        return True

    def missing(self, kind: str = UNREADABLE, zh: str = "不是事实", en: str = "it is no fact") -> None:
        """The next fact isn't there, or can't be read."""
        self._find(kind, self._expected, zh, en)
        self._take(None)

    def _take(self, row: Row | None) -> None:
        self._rows.append(row)
        self._expected += 1
        if len(self._rows) == TILE_HASHES:
            self._close_tile()

    def close(self) -> None:
        """All facts were there: the last tiles are compared, and what is missing or too much at the end is found."""
        if self._rows:
            self._close_tile()
        if self._expected <= self.size:
            held = self._expected - 1
            self._find(
                TAIL_REMOVED,
                self._expected,
                f"只有 {held} 条，签名的有 {self.size} 条",
                f"there are {held} facts, and {self.size} were sealed",
            )
        if self._beyond:
            zh, en = f"多出 {self._beyond} 条", f"there are {self._beyond} more than were sealed"
            self._find(INSERTED, self.size + 1, zh, en)
        for level, hashes in enumerate(self._frontier.partial):
            if hashes and level:
                number = self._frontier.size >> 8 * (level + 1)
                self._compare_tile(Tile(level, number, len(hashes) // HASH_BYTES), hashes)

    # ── One tile of leaves ───────────────────────────────────────────────────────────────────────────────────────

    def _close_tile(self) -> None:
        number, rows = self._frontier.size // TILE_HASHES, self._rows
        tile = Tile(0, number, tile_width(self.size, 0, number))
        leaves = [self._leaf(row) for row in rows]
        sealed = self._read_tile(tile)
        hashes = leaf_hashes(leaves) if None not in rows else b""
        entries = self._read_entries(number, tile.width) if self._read_entries is not None else None
        alike = self._read_entries is None or entries == bundle(leaves)
        if sealed is None:
            self._find_tile(tile, "缺少", "it is missing")
        if self._read_entries is not None and entries is None:
            self._find_entries(number, "缺少", "it is missing")
        if not alike or sealed is None or sealed[: len(hashes)] != hashes or not hashes:
            hashes = self._differ(tile, leaves, sealed, entries)
        self._grow(hashes)
        self._rows = []

    def _leaf(self, row: Row | None) -> bytes:
        """Nothing for what can't be a leaf."""
        if row is None:
            return b""
        try:
            return self._encode(*row)
        except (LeafTooLong, UnicodeEncodeError, struct.error) as error:
            self._find(UNREADABLE, row[0], str(error), str(error), row[2])
            return b""

    def _differ(self, tile: Tile, leaves: Sequence[bytes], sealed: bytes | None, entries: bytes | None) -> bytes:
        """Find what differs in one tile; returns the leaf hashes to go on with, which are the sealed ones where those
        are to be believed."""
        first = tile.number * TILE_HASHES + 1
        believed = sealed is not None and self._is_believed(tile, sealed)
        bundled = self._unbundled(tile.number, entries)
        going_on = []
        tile_told = sealed is None
        swapped = -1
        for at, leaf in enumerate(leaves):
            position, row = first + at, self._rows[at]
            ours = leaf_hash(leaf)
            wanted = ours if sealed is None else sealed[at * HASH_BYTES : (at + 1) * HASH_BYTES]
            entry = bundled[at] if at < len(bundled) else None
            going_on.append(wanted if believed else ours)
            if ours == wanted:
                if entry is not None and entry != leaf:
                    self._find_entries(tile.number, f"位置 {position}", f"position {position}", position)
                continue
            if row is None or at == swapped:
                continue
            if not believed:
                if not tile_told:
                    tile_told = True
                    self._find_tile(tile, f"位置 {position} 起", f"from position {position} on")
                continue
            moved = self._moved(at, sealed or b"", tile)
            if moved == SWAPPED:
                swapped = at + 1
            if moved:
                continue
            if entry is not None and leaf_hash(entry) == wanted:
                self._find(LINE_CHANGED, position, *_what_differs(row, entry), row[2])
            else:
                self._find(CHANGED, position, "与封存的散列不符", "its hash isn't the one that was sealed", row[2])
        return b"".join(going_on)

    def _moved(self, at: int, sealed: bytes, tile: Tile) -> str:
        """Whether a fact that isn't the sealed one is only in another place: told once, where it begins; empty: no."""
        if self._shifted:
            return REMOVED
        row, after = self._rows[at], self._rows[at + 1] if at + 1 < len(self._rows) else None
        if row is None:
            return ""
        position = row[0]
        forward = self._is_sealed_at(row, position + 1, sealed, tile)
        back = after is not None and self._is_sealed_at(after, position, sealed, tile)
        if forward and back:
            found, place, type_ = SWAPPED, position, row[2]
            zh, en = f"与位置 {position + 1} 对调了", f"it changed places with the one at position {position + 1}"
        elif forward or back or self._is_sealed_at(row, position - 1, sealed, tile):
            self._shifted = True
            found, place = (REMOVED, position) if forward else (INSERTED, position if back else position - 1)
            type_ = row[2] if back else ""
            zh, en = "之后的事实都移了一位", "all facts after it stand one place off"
        else:
            return ""
        self._find(found, place, zh, en, type_)
        return found

    def _is_sealed_at(self, row: Row, position: int, sealed: bytes, tile: Tile) -> bool:
        """Whether this very fact was sealed at a position."""
        number, at = divmod(position - 1, TILE_HASHES)
        if not 0 < position <= self.size:
            return False
        if number != tile.number:
            sealed = self._read_tile(Tile(0, number, tile_width(self.size, 0, number))) or b""
        leaf = self._leaf((position, *row[1:]))
        return bool(leaf) and sealed[at * HASH_BYTES : (at + 1) * HASH_BYTES] == leaf_hash(leaf)

    def _unbundled(self, number: int, entries: bytes | None) -> list[bytes]:
        if entries is None:
            return []
        try:
            return unbundled(entries)
        except LeafMalformed:
            self._find_entries(number, "长度不符", "its lengths don't fit")
            return []

    # ── The tree above ───────────────────────────────────────────────────────────────────────────────────────────

    def _grow(self, hashes: bytes) -> None:
        """Take leaf hashes in; every root that was signed on the way must come out."""
        frontier, at = self._frontier, 0
        first = frontier.size
        full: list[tuple[Tile, bytes]] = []
        while self._sizes and self._sizes[0] <= first + len(hashes) // HASH_BYTES:
            size = self._sizes.pop(0)
            to = (size - first) * HASH_BYTES
            full += frontier.extend(hashes[at:to])
            at = to
            root = frontier.root()
            for place, signed in self._roots[size]:
                if signed != root:
                    zh, en = f"前 {size} 条的根不同", f"the root of the first {size} facts is another one"
                    self.findings.add(Finding(OTHER_ROOT, zh, en, place))
        full += frontier.extend(hashes[at:])
        for tile, content in full:
            if tile.level:
                self._compare_tile(tile, content)

    def _compare_tile(self, tile: Tile, content: bytes) -> None:
        stored = self._read_tile(tile)
        if stored is None:
            self._find_tile(tile, "缺少", "it is missing")
        elif stored != content:
            self._find_tile(tile, "不是其下瓦片的散列", "it isn't the hashes of the tiles below it")

    def _is_believed(self, tile: Tile, hashes: bytes) -> bool:
        """Whether a sealed tile hashes to the one above it, and so on up to the newest root that was signed."""
        while tile.width == TILE_HASHES:
            above, at = divmod(tile.number, TILE_HASHES)
            parent = Tile(tile.level + 1, above, tile_width(self.size, tile.level + 1, above))
            stored = self._read_tile(parent)
            if stored is None or stored[at * HASH_BYTES : (at + 1) * HASH_BYTES] != perfect_root(hashes):
                return False
            tile, hashes = parent, stored
        if not self._newest:
            return True  # nothing was signed that says otherwise
        signed = self._roots[self._newest]
        try:
            root = root_of(self._newest, lambda one: self._read_tile(one) or b"")
        except (ValueError, IndexError):
            return False
        return any(one == root for _, one in signed)

    # ── Telling ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _find(self, kind: str, position: int, zh: str, en: str, type_: str = "") -> None:
        self.findings.add(Finding(kind, zh, en, position=position, type=type_))

    def _find_tile(self, tile: Tile, zh: str, en: str) -> None:
        self.findings.add(Finding(TILE, zh, en, f"log/tile/{tile.path}"))

    def _find_entries(self, number: int, zh: str, en: str, position: int = 0) -> None:
        path = Tile(0, number, tile_width(self.size, 0, number)).path.partition("/")[2]
        self.findings.add(Finding(ENTRIES, zh, en, f"{_ENTRIES_PLACE}/{path}", position))


def _what_differs(row: Row, entry: bytes) -> tuple[str, str]:
    """In what a fact isn't the leaf that was sealed."""
    try:
        leaf = Leaf.parse(entry)
    except LeafMalformed:
        return "条目不是事实的编码", "the entry is no leaf"
    said = (row[0], row[1], row[2], tuple(row[3]), bytes(row[4]))
    sealed = (leaf.position, leaf.recorded_at_microseconds, leaf.type, leaf.tags, leaf.data)
    names = ("position", "recorded_at_microseconds", "type", "tags", "data")
    for name, one, other in zip(names, said, sealed, strict=True):
        if one != other:
            now, then = _told(one, other)
            return f"{name}：写着 {now}，封存的是 {then}", f"{name}: {now} instead of {then}"
    return "账本名称不同", "it names another ledger"


def _told(one: object, other: object) -> tuple[str, str]:
    """Two values; of long bytes what is around where they part."""
    if not isinstance(one, bytes) or not isinstance(other, bytes):
        return str(one), str(other)
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, at - 20)
    return tuple("…" + each[start : at + 20].decode(errors="replace") + "…" for each in (one, other))  # type: ignore[return-value]
