"""The bundle as files: read back as it was written, the same each time, and never half of one that looks whole."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from application.bundle import (
    BALANCES,
    CHECKPOINT,
    FACTS_FILE,
    FIGURES,
    FORMAT,
    LOG_KEYS,
    MANIFEST,
    POLICIES,
    SUCCESSIONS,
    WITNESS_KEYS,
    BadBytes,
    BundleDirectoryInUse,
    BundleUnreadable,
    Contents,
    FactLine,
    StoredRow,
    entries_path,
    read_balances,
    read_checkpoints,
    read_facts,
    read_figures,
    read_keys,
    read_manifest,
    read_policies,
    read_text,
    tile_path,
    write_bundle,
)
from application.replay import GapInJournal
from domain.figures import Figure
from domain.leaf import Leaf, unbundled
from domain.merkle import TILE_HASHES, Tile
from domain.plain_journal import FORMS
from domain.policy import Policy
from infrastructure.codec import decode, encode
from tests.controls import FACT_EXAMPLES, POLICY_ADOPTED, ZONE, envelope

RECORDED_AT = 1_790_000_000_000_000
MANY = TILE_HASHES + 44


def stored(count: int) -> list[StoredRow]:
    """So many facts, of each type in turn."""
    facts = [envelope(FACT_EXAMPLES[at % len(FACT_EXAMPLES)]) for at in range(count)]
    return [(at, RECORDED_AT + at, one.fact.type, one.tags(), encode(one)) for at, one in enumerate(facts, 1)]


def batches(rows: Sequence[StoredRow], size: int = 70) -> Iterator[Sequence[StoredRow]]:
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def contents(rows: Sequence[StoredRow] | None = None, **changes: Any) -> Contents:
    rows = stored(MANY) if rows is None else rows
    figure = Figure(2, 120, 2)
    made = Contents(
        ledger="qingxiu",
        zone=ZONE,
        synthetic=True,
        size=len(rows),
        period=None,
        checkpoint="qingxiu\n300\nAAAA\n\n— qingxiu AAAA\n",
        older_checkpoints={7: "seven\n", 12: "twelve\n"},
        successions="",
        log_keys=["qingxiu+1", "qingxiu+2"],
        witness_keys=["witness+1"],
        tiles=[(Tile(0, 0), b"a" * 8192), (Tile(0, 1, 44), b"b" * 44 * 32)],
        facts=batches(rows),
        decode=decode,
        balances={"issuance": -90, "household:H2": 60, "pool:新竹社区": 0, "household:H1": 30},
        figures=figure,
        cells={"community": {"新竹社区": figure}},
    )
    return replace(made, **changes)


def row_of(line: FactLine) -> StoredRow:
    return (line.position, line.recorded_at_microseconds, line.type, line.tags, bytes(line.data))


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if not path.is_dir()}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "bundle"
    manifest = write_bundle(directory, contents(period="2026-09"))
    assert read_manifest(directory) == manifest
    assert (manifest.format, manifest.ledger, manifest.size, manifest.period, manifest.synthetic) == (
        *(FORMAT, "qingxiu", MANY, "2026-09", True),
    )
    facts = [
        (one.position, one.recorded_at_microseconds, one.type, one.tags, bytes(one.data))
        for one in read_facts(directory)
    ]
    assert facts == stored(MANY)
    assert read_text(directory, CHECKPOINT).startswith("qingxiu\n300\n")
    assert read_text(directory, SUCCESSIONS) == ""
    assert read_checkpoints(directory) == {7: "seven\n", 12: "twelve\n"}
    assert read_keys(directory, LOG_KEYS) == ["qingxiu+1", "qingxiu+2"]
    assert read_keys(directory, WITNESS_KEYS) == ["witness+1"]
    assert (directory / tile_path(Tile(0, 1, 44))).read_bytes() == b"b" * 44 * 32
    assert read_figures(directory).figures == Figure(2, 120, 2)
    assert read_figures(directory).cells["community"]["新竹社区"].service_minutes == 120
    assert list(read_balances(directory).items()) == [
        *(("household:H1", 30), ("household:H2", 60), ("issuance", -90), ("pool:新竹社区", 0)),
    ]
    adopted = read_policies(directory)[POLICY_ADOPTED.version]
    assert (adopted.effective_on, adopted.policy) == (POLICY_ADOPTED.effective_on, Policy())
    assert stored(MANY)[adopted.position - 1][2] == POLICY_ADOPTED.type


def test_entry_bundles_hold_the_leaves_of_the_facts(tmp_path: Path) -> None:
    write_bundle(tmp_path, contents())
    leaves: list[bytes] = []
    for number, width in ((0, TILE_HASHES), (1, MANY - TILE_HASHES)):
        leaves += unbundled((tmp_path / entries_path(number, width)).read_bytes())
    assert [Leaf.parse(leaf)[1:] for leaf in leaves] == [
        (position, recorded_at, type_, tuple(tags), data) for position, recorded_at, type_, tags, data in stored(MANY)
    ]


def test_stored_bytes_are_in_their_line_as_they_are(tmp_path: Path) -> None:
    odd = b'{ "id":"1",  "unknown":"\xe6\x96\xb0\\u7af9/" }'
    rows = [(1, RECORDED_AT, "member-registered.v1", ["a:1"], odd)]
    write_bundle(tmp_path, contents(rows))
    line = (tmp_path / FACTS_FILE).read_bytes()
    assert line.endswith(b'"tags":["a:1"],"data":' + odd + b"}\n")
    assert [bytes(one.data) for one in read_facts(tmp_path)] == [odd]


def test_the_same_contents_give_the_same_bytes_however_they_are_batched(tmp_path: Path) -> None:
    write_bundle(tmp_path / "one", contents())
    write_bundle(tmp_path / "other", contents(facts=batches(stored(MANY), 257)))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")


def test_the_manifest_names_every_other_file_in_order_with_its_length_and_hash(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path, contents())
    found = files_of(tmp_path)
    found.pop(MANIFEST)
    assert [(one.path, one.bytes, one.sha256) for one in manifest.files] == [
        (path, len(content), hashlib.sha256(content).hexdigest()) for path, content in sorted(found.items())
    ]
    assert {*FORMS, BALANCES, FIGURES, FACTS_FILE} <= found.keys()
    listed = json.loads((tmp_path / MANIFEST).read_text())
    assert list(listed) == ["format", "ledger", "size", "period", "synthetic", "files"]


def test_an_empty_ledger_makes_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path, contents([], tiles=[]))
    assert list(read_facts(tmp_path)) == []
    assert read_manifest(tmp_path).size == 0


def test_nothing_is_written_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("mine")
    for place in (tmp_path, tmp_path / "letter"):
        with pytest.raises(BundleDirectoryInUse):
            write_bundle(place, contents())
    assert files_of(tmp_path) == {"letter": b"mine"}


def broken(rows: list[StoredRow], error: BaseException) -> Iterator[Sequence[StoredRow]]:
    yield rows
    raise error


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_what_fails_leaves_the_directory_as_it_was(tmp_path: Path, error: BaseException) -> None:
    for directory in (tmp_path / "new" / "deep", tmp_path / "empty"):
        if directory.name == "empty":
            directory.mkdir()
        with pytest.raises(type(error)):
            write_bundle(directory, contents(facts=broken(stored(MANY), error)))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert not any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([*stored(5)[:2], *stored(5)[3:]], GapInJournal),
        ([*stored(5)[:2], stored(5)[1], *stored(5)[2:]], GapInJournal),
        ([(1, RECORDED_AT, "member-registered.v1", [], b'{\n"id":1}')], BadBytes),
    ],
    ids=["removed", "repeated", "line end"],
)
def test_facts_that_make_no_bundle_are_named(tmp_path: Path, rows: list[StoredRow], error: type[Exception]) -> None:
    with pytest.raises(error):
        write_bundle(tmp_path, contents(rows))
    assert not any(tmp_path.iterdir())


def test_facts_that_end_before_the_checkpoint_are_missing(tmp_path: Path) -> None:
    with pytest.raises(GapInJournal):
        write_bundle(tmp_path, contents(stored(5), size=6))


def test_the_manifest_takes_its_place_last_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Path, _: Path) -> None:
        assert not (tmp_path / MANIFEST).exists()
        assert len(files_of(tmp_path)) > 10
        json.loads(self.read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path, contents())
    assert not any(tmp_path.iterdir())


def test_progress_is_told_as_facts_are_written(tmp_path: Path) -> None:
    told: list[int] = []
    write_bundle(tmp_path, contents(), told.append)
    assert told == [70, 140, 210, 280, MANY]


def test_what_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", contents())
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "bundle").rglob("*") if path.is_dir())
    assert (tmp_path / "bundle").stat().st_mode & 0o077 == 0


def read_all(directory: Path) -> None:
    read_manifest(directory)
    for _ in read_facts(directory):
        pass
    read_figures(directory)
    read_balances(directory)
    read_keys(directory, LOG_KEYS)
    read_policies(directory)
    read_checkpoints(directory)


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [
        (MANIFEST, b"{}", "missing required field"),
        (MANIFEST, None, "No such file"),
        (FACTS_FILE, b'{"position":1}\n', "line 1"),
        (FACTS_FILE, None, "No such file"),
        (FIGURES, b"[]", "Expected"),
        (BALANCES, b"account,minutes\n", "columns"),
        (BALANCES, b"account,household,minutes\nissuance,,1.5\n", "line 2"),
        (BALANCES, b"account,household,minutes\nhousehold:H1,H2,1\n", "names another"),
        (BALANCES, b"account,household,minutes\nissuance,,1\nissuance,,1\n", "twice"),
        (BALANCES, b"account,household,minutes\nissuance,,1\n\n", "line 3"),
        (BALANCES, b"\xff", "utf-8"),
        (LOG_KEYS, None, "No such file"),
        (f"{POLICIES}/1.json", b'{"version": 1}', "missing required field"),
        ("checkpoints/07.note", b"", "named for a size"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str, content: bytes | None, named: str) -> None:
    write_bundle(tmp_path, contents())
    if content is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_bytes(content)
    with pytest.raises(BundleUnreadable, match=named) as raised:
        read_all(tmp_path)
    assert raised.value.path == path


def test_a_bundle_of_another_format_is_not_read(tmp_path: Path) -> None:
    write_bundle(tmp_path, contents())
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace(FORMAT, "timebank-audit-bundle/v2"))
    with pytest.raises(BundleUnreadable, match="v2"):
        read_manifest(tmp_path)


def test_a_line_of_facts_has_exactly_its_five_fields() -> None:
    assert FactLine.__struct_fields__ == ("position", "recorded_at_microseconds", "type", "tags", "data")
