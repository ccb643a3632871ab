"""The Merkle tree: known roots, its tiles, and proofs that verify as they are and in no other way."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_BYTES,
    TILE_HASHES,
    Frontier,
    ReadTile,
    Tile,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
    leaf_hashes,
    node_hash,
    number_path,
    parse_number_path,
    perfect_root,
    proof,
    root,
    root_of,
    tile_width,
    tiles_in,
    tiles_of,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The leaves that Certificate Transparency's own tests use, and below them the roots over the first n of them."""
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

SIZE_MAX = 70_000
ALL = [leaf_hash(str(number).encode()) for number in range(SIZE_MAX)]
TILES = {tile[:2]: hashes for tile, hashes in Frontier().extend(b"".join(ALL))}
LEVELS = [
    b"".join(ALL),
    b"".join(perfect_root(TILES[0, number]) for number in range(273)),
    perfect_root(TILES[1, 0]),
]
"""All hashes of each level, of which the tiles of a smaller tree are parts."""

sizes = st.one_of(st.integers(1, 40), st.integers(1, 1_100), st.integers(1, SIZE_MAX))


def reading(size: int) -> ReadTile:
    """Tiles of the tree over the first leaves of `ALL`."""

    def read_tile(tile: Tile) -> bytes:
        assert tile.width == tile_width(size, tile.level, tile.number) > 0
        return LEVELS[tile.level][tile.number * TILE_BYTES :][: tile.width * HASH_BYTES]

    return read_tile


def recursive_root(hashes: list[bytes]) -> bytes:
    """As RFC 6962 defines it, word for word."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else sha256(b"").digest()
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    return node_hash(recursive_root(hashes[:left]), recursive_root(hashes[left:]))


def damaged(path: list[bytes], at: int, bit: int) -> list[bytes]:
    byte, place = divmod(bit, 8)
    wrong = bytearray(path[at])
    wrong[byte] ^= 1 << place
    return [*path[:at], bytes(wrong), *path[at + 1 :]]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root([leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


def test_proofs_are_those_of_certificate_transparency() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    frontier = Frontier()
    frontier.extend(b"".join(hashes))
    assert [one.hex() for one in proof(inclusion_ranges(5, 8), 8, lambda tile: frontier.partial[tile.level])] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in proof(consistency_ranges(6, 8), 8, lambda tile: frontier.partial[tile.level])] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(st.lists(st.integers(0, 400), max_size=8))
@settings(deadline=None)
def test_a_frontier_that_grows_in_steps_is_that_of_all_leaves_at_once(steps: list[int]) -> None:
    frontier, tiles = Frontier(), {}
    for step in steps:
        tiles.update(frontier.extend(b"".join(ALL[frontier.size : frontier.size + step])))
        frontier = Frontier(frontier.size, frontier.partial)
    size = sum(steps)
    assert frontier.size == size
    assert frontier.root() == reading_frontier(size).root() == recursive_root(ALL[:size])
    assert tiles == {Tile(*tile): h for tile, h in TILES.items() if tile_width(size, *tile) == TILE_HASHES}


def test_a_frontier_takes_single_leaves() -> None:
    frontier = Frontier()
    for number in range(300):
        full = frontier.append(str(number).encode())
        assert [tile for tile, _ in full] == ([Tile(0, 0)] if number == 255 else [])
        assert frontier.root() == recursive_root(ALL[: number + 1])
    assert leaf_hashes(str(number).encode() for number in range(300)) == b"".join(ALL[:300])


@pytest.mark.parametrize(
    ("size", "partial"), [(1, []), (0, [b"x" * 32]), (2, [b"x" * 32]), (256, [b"x" * TILE_BYTES]), (257, [b"x" * 32])]
)
def test_a_frontier_of_another_size_is_refused(size: int, partial: list[bytes]) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier(size, partial)


def test_seventy_thousand_leaves_have_the_tiles_that_the_specification_counts() -> None:
    assert len([tile for tile in TILES if tile[0] == 0]) == 273
    assert tile_width(70_000, 0, 273) == 112
    assert tile_width(70_000, 1, 0) == 256
    assert tile_width(70_000, 1, 1) == 17
    assert tile_width(70_000, 2, 0) == 1
    assert tile_width(70_000, 2, 1) == tile_width(70_000, 3, 0) == 0
    assert [len(hashes) // HASH_BYTES for hashes in reading_frontier(70_000).partial] == [112, 17, 1]


def reading_frontier(size: int) -> Frontier:
    partial = []
    for level, hashes in enumerate(LEVELS):
        count = size >> 8 * level
        partial.append(hashes[count // TILE_HASHES * TILE_BYTES : count * HASH_BYTES])
    return Frontier(size, partial)


@given(sizes, st.data())
@settings(deadline=None, max_examples=60)
def test_every_inclusion_proof_verifies_and_any_damaged_one_is_rejected(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    read_tile = reading(size)
    path, top = proof(inclusion_ranges(index, size), size, read_tile), reading_frontier(size).root()
    assert root_of(size, read_tile) == top
    leaf = ALL[index]
    assert is_included(leaf, index, size, path, top)
    assert not is_included(leaf_hash(b"another"), index, size, path, top)
    assert not is_included(leaf, index, size, [*path, top], top)
    assert not is_included(leaf, index, size, path, leaf_hash(b"another"))
    assert not is_included(leaf, size, size, path, top)
    other = data.draw(st.integers(0, size - 1))
    assert is_included(leaf, other, size, path, top) is (other == index)
    if path:
        at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
        assert not is_included(leaf, index, size, damaged(path, at, bit), top)
        assert not is_included(leaf, index, size, path[:at] + path[at + 1 :], top)
        assert not is_included(leaf, index, size, [*path[:at], path[at][:31], *path[at + 1 :]], top)


@given(sizes, st.data())
@settings(deadline=None, max_examples=60)
def test_every_consistency_proof_verifies_and_any_damaged_one_is_rejected(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    read_tile = reading(size)
    path, top = proof(consistency_ranges(old, size), size, read_tile), root_of(size, read_tile)
    old_root, wrong = reading_frontier(old).root(), leaf_hash(b"another")
    assert is_consistent(old, old_root, size, top, path)
    assert not is_consistent(old, wrong, size, top, path)
    if old:
        assert not is_consistent(old, old_root, size, wrong, path)
    assert not is_consistent(old, old_root, size, top, [*path, wrong])
    other = data.draw(st.integers(1, size))
    if other != old:
        assert not is_consistent(other, old_root, size, top, path)
    if path:
        at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
        assert not is_consistent(old, old_root, size, top, damaged(path, at, bit))
        assert not is_consistent(old, old_root, size, top, path[:at] + path[at + 1 :])


@pytest.mark.parametrize("size", range(1, 20))
def test_all_proofs_of_small_trees_verify(size: int) -> None:
    read_tile, top = reading(size), recursive_root(ALL[:size])
    for index in range(size):
        assert is_included(ALL[index], index, size, proof(inclusion_ranges(index, size), size, read_tile), top)
    for old in range(size + 1):
        path = proof(consistency_ranges(old, size), size, read_tile)
        assert is_consistent(old, recursive_root(ALL[:old]), size, top, path)


@given(sizes, st.data())
@settings(deadline=None, max_examples=40)
def test_a_proof_reads_exactly_the_tiles_that_are_named_beforehand(size: int, data: st.DataObject) -> None:
    ranges = inclusion_ranges(data.draw(st.integers(0, size - 1)), size)
    ranges += consistency_ranges(data.draw(st.integers(0, size)), size)
    read: set[Tile] = set()

    def noting(tile: Tile) -> bytes:
        read.add(tile)
        return bytes(TILE_BYTES)

    proof(ranges, size, noting)
    assert tiles_of(ranges, size) == sorted(read)


def test_an_empty_tree_has_its_own_root_and_begins_every_other() -> None:
    assert Frontier().root() == root([]) == EMPTY_ROOT
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not is_consistent(0, EMPTY_ROOT, 0, ALL[0], [])
    assert is_consistent(0, EMPTY_ROOT, 1, ALL[0], [])
    assert not is_consistent(0, ALL[0], 1, ALL[0], [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (5, 4)])
def test_no_inclusion_beyond_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_ranges(index, size)


def test_no_tree_begins_as_a_larger_one() -> None:
    with pytest.raises(ValueError, match="begin"):
        consistency_ranges(5, 4)
    assert not is_consistent(5, ALL[0], 4, ALL[0], [])


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 5, 1), "0/005.p/1"),
        (Tile(1, 1234), "1/x001/234"),
        (Tile(63, 1_234_067, 255), "63/x001/x234/067.p/255"),
        (Tile(0, 1000), "0/x001/000"),
    ],
)
def test_tiles_have_the_paths_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "00/000",
        "64/000",
        "0/x000/001",
        "0/001/234",
        "0/x001/x234",
        "0/x001",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000/",
        "0/000\n",
        "-1/000",
        "0/٠٠٠",
        "0/" + "x001/" * 40 + "000",
    ],
)
def test_what_is_no_tiles_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not the path"):
        Tile.parse(path)


@given(st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_number_is_read_back_from_its_path(number: int, width: int) -> None:
    assert parse_number_path(number_path(number, width)) == (number, width)


@given(st.integers(0, SIZE_MAX))
def test_the_tiles_of_a_tree_are_those_that_hold_a_hash_each_once_and_as_wide_as_it_is(size: int) -> None:
    tiles = list(tiles_in(size))
    assert tiles == sorted(set(tiles))
    assert all(tile.width == tile_width(size, tile.level, tile.number) > 0 for tile in tiles)
    for level in range(5):
        hashes = sum(tile.width for tile in tiles if tile.level == level)
        assert hashes == size >> 8 * level
    assert set(tiles_of([(0, size)], size)) <= set(tiles)
