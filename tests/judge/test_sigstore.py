"""sigstore, which verifies the inclusion proofs of other logs, agrees with ours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from domain.leaf import unbundled
from domain.merkle import TILE_HASHES, number_path, tile_width
from tests.judge.log_files import PROOFS, LogFiles, written


def agrees(log: LogFiles) -> int:
    """How many proofs sigstore has accepted; it must reject each of them once it is damaged."""
    size, root = log.checkpoint[1:]
    accepted = 0
    for index, path in log.proofs:
        number, at = divmod(index, TILE_HASHES)
        entries = log.directory / "tile" / "entries" / number_path(number, tile_width(size, 0, number))
        leaf = unbundled(entries.read_bytes())[at]
        verify_merkle_inclusion(entry(index, size, root, path, leaf))
        accepted += 1
        spoilt = bytes([path[-1][0] ^ 1]) + path[-1][1:]
        for damaged in (
            entry(index, size, root, [*path[:-1], spoilt], leaf),
            entry(index, size, root, path[:-1], leaf),
            entry(index ^ 1, size, root, path, leaf),
            entry(index, size, root, path, leaf + b"x"),
            entry(index, size, bytes(32), path, leaf),
        ):
            with pytest.raises(VerificationError):
                verify_merkle_inclusion(damaged)
    return accepted


def entry(index: int, size: int, root: bytes, path: list[bytes], leaf: bytes) -> Any:
    """A leaf and its proof, under the names that sigstore reads of an entry of Rekor's log."""
    proof = SimpleNamespace(log_index=index, tree_size=size, root_hash=root, hashes=path)
    return cast(Any, SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=leaf)))


def test_sigstore_agrees_on_a_thousand_inclusions(sample_url: str, tmp_path: Path) -> None:
    assert agrees(written(sample_url, tmp_path)) == PROOFS
