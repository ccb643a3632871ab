"""The leaf: its bytes, that no two facts share them, and that nothing else is read as one."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.leaf import LEAF_BYTES_MAX, Leaf, LeafMalformed, LeafTooLong, bundle, encoder, leaf_length_bytes, unbundled
from domain.merkle import leaf_hash

FIRST = Leaf("qingxiu", 1, 1_761_000_000_000_001, "ledger-opened.v1", ("ledger:self", "command:c1"), b'{"id":"1"}')
CHINESE = Leaf(
    "qingxiu", 41, -1, "community-registered.v1", ("community:新竹社区",), '{"community":"新竹社区"}'.encode()
)

texts = st.text(max_size=20).filter(lambda text: text.isprintable())
leaves = st.builds(
    Leaf,
    texts,
    st.integers(1, 2**62),
    st.integers(-(2**62), 2**62),
    texts,
    st.lists(texts, max_size=4).map(tuple),
    st.binary(max_size=60),
)


def test_a_leaf_is_written_byte_by_byte_as_documented() -> None:
    assert FIRST.encoded().hex(" ", -4) == (
        bytes.fromhex(
            "01"  # version
            "0007 71696e67786975"  # qingxiu
            "0000000000000000"  # index
            "0006419ec3731001"  # recorded at
            "0010 6c65646765722d6f70656e65642e7631"  # ledger-opened.v1
            "0002 000b 6c65646765723a73656c66 000a 636f6d6d616e643a6331"  # two tags
            "0000000a 7b226964223a2231227d"  # data
        ).hex(" ", -4)
    )


@pytest.mark.parametrize(
    ("leaf", "hash_"),
    [
        (FIRST, "97fc140b427ee00747923679c5e85237150a00632521012e512be4699ed7e2d3"),
        (CHINESE, "c88bda830fc2d3f066a3c89df10d59a3f42ad2d6fdf29d036bf2b9b42caa22d4"),
    ],
)
def test_the_hash_of_a_leaf_never_changes(leaf: Leaf, hash_: str) -> None:
    assert leaf_hash(leaf.encoded()).hex() == hash_
    assert sha256(b"\x00" + leaf.encoded()).hexdigest() == hash_


@given(leaves, leaves)
def test_no_two_facts_have_the_same_leaf(one: Leaf, other: Leaf) -> None:
    assert (one.encoded() == other.encoded()) is (one == other)


@given(leaves)
def test_a_leaf_is_read_back_as_it_was(leaf: Leaf) -> None:
    assert Leaf.parse(leaf.encoded()) == leaf
    assert leaf_length_bytes(leaf.ledger, leaf.type, leaf.tags, leaf.data) == len(leaf.encoded())


def test_texts_that_run_into_each_other_have_other_leaves() -> None:
    assert FIRST._replace(tags=("ab", "c")).encoded() != FIRST._replace(tags=("a", "bc")).encoded()
    assert FIRST._replace(tags=("a,b",)).encoded() != FIRST._replace(tags=("a", "b")).encoded()
    assert FIRST._replace(type="a", tags=("b",)).encoded() != FIRST._replace(type="ab", tags=()).encoded()


@given(leaves, st.data())
def test_a_leaf_that_was_cut_or_added_to_is_not_read(leaf: Leaf, data: st.DataObject) -> None:
    encoded = leaf.encoded()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\0", b"\2" + encoded[1:], b"", b"\0" * 40):
        with pytest.raises(LeafMalformed):
            Leaf.parse(wrong)


def test_a_leaf_holds_up_to_what_an_entry_can_and_no_more() -> None:
    room = LEAF_BYTES_MAX - len(FIRST._replace(data=b"").encoded())
    longest = FIRST._replace(data=b"x" * room)
    assert len(longest.encoded()) == LEAF_BYTES_MAX
    assert Leaf.parse(longest.encoded()) == longest
    with pytest.raises(LeafTooLong):
        longest._replace(data=b"x" * (room + 1)).encoded()
    with pytest.raises(LeafTooLong):
        FIRST._replace(tags=("x" * 70_000,)).encoded()
    with pytest.raises(LeafTooLong):
        FIRST._replace(tags=("",) * 70_000).encoded()


@given(st.lists(leaves, max_size=5))
def test_an_entry_bundle_gives_its_leaves_back(several: list[Leaf]) -> None:
    encoded = [leaf.encoded() for leaf in several]
    assert unbundled(bundle(encoded)) == encoded
    if several:
        with pytest.raises(LeafMalformed):
            unbundled(bundle(encoded)[:-1])
    with pytest.raises(LeafMalformed):
        unbundled(bundle(encoded) + b"\0")


def test_the_encoder_of_a_ledger_writes_its_leaves() -> None:
    encode = encoder("qingxiu")
    for leaf in (FIRST, CHINESE, FIRST):
        assert encode(leaf.position, leaf.recorded_at_microseconds, leaf.type, leaf.tags, leaf.data) == leaf.encoded()
