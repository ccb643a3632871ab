"""What a witness accepts of a log, what it refuses, and how what it signs is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.checkpoint import Checkpoint
from domain.merkle import EMPTY_ROOT, Frontier, Tile, leaf_hash, perfect_root, tile_width
from domain.statement import VerifierKey
from domain.witness import (
    COSIGNATURE,
    REFUSALS,
    Cosignature,
    LogForked,
    LogRefused,
    LogRewritten,
    LogTruncated,
    LogUnproven,
    RefusedLog,
    cosigned_message,
    require_growth,
    require_name,
    witness_key,
)

LINE = (
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
"""The example of C2SP tlog-cosignature."""


class Log:
    """A log in memory, with all of its tiles."""

    def __init__(self, *leaves: str) -> None:
        self.size = len(leaves)
        self._levels = [b"".join(leaf_hash(leaf.encode()) for leaf in leaves)]
        while len(self._levels[-1]) >= 8192:
            below = self._levels[-1]
            full = range(0, len(below) // 8192 * 8192, 8192)
            self._levels.append(b"".join(perfect_root(below[at : at + 8192]) for at in full))
        frontier = Frontier()
        frontier.extend(self._levels[0])
        self.checkpoint = Checkpoint("qingxiu", self.size, frontier.root())

    def tile(self, tile: Tile) -> bytes:
        if tile.width > tile_width(self.size, tile.level, tile.number):
            raise LookupError(tile)
        return self._levels[tile.level][tile.number * 8192 :][: tile.width * 32]


def grown(size: int, *, altered: int | None = None) -> Log:
    return Log(*(f"{n}!" if n == altered else str(n) for n in range(size)))


@given(st.integers(0, 700), st.integers(0, 700))
def test_a_log_that_has_grown_is_accepted_whatever_its_sizes(one: int, other: int) -> None:
    kept, seen = grown(min(one, other)), grown(max(one, other))
    require_growth(kept.checkpoint, seen.checkpoint, seen.tile)


@given(st.integers(1, 700), st.data())
def test_a_log_of_which_a_fact_was_changed_is_refused_whatever_its_sizes(size: int, data: st.DataObject) -> None:
    seen = grown(data.draw(st.integers(size, 701)), altered=data.draw(st.integers(0, size - 1)))
    with pytest.raises(LogForked if seen.size == size else LogRewritten) as refused:
        require_growth(grown(size).checkpoint, seen.checkpoint, seen.tile)
    assert (refused.value.kept, refused.value.seen) == (grown(size).checkpoint, seen.checkpoint)


def test_a_log_that_is_shorter_than_it_was_is_truncated() -> None:
    with pytest.raises(LogTruncated, match="it had 7 facts and now shows 5"):
        require_growth(grown(7).checkpoint, grown(5).checkpoint, grown(5).tile)


def test_another_root_for_the_same_size_is_a_fork() -> None:
    with pytest.raises(LogForked, match="two roots were signed for the same 7 facts"):
        require_growth(grown(7).checkpoint, grown(7, altered=2).checkpoint, grown(7).tile)


def test_another_beginning_is_a_rewritten_log() -> None:
    seen = grown(300, altered=2)
    with pytest.raises(LogRewritten, match="its first 7 facts aren't those"):
        require_growth(grown(7).checkpoint, seen.checkpoint, seen.tile)


@pytest.mark.parametrize("shown", [grown(299), grown(300, altered=2), Log()])
def test_a_log_that_does_not_show_the_tree_that_it_signed_proves_nothing(shown: Log) -> None:
    with pytest.raises(LogUnproven, match="nothing proves that 300 facts grew from 7"):
        require_growth(grown(7).checkpoint, grown(300).checkpoint, shown.tile)


def test_the_empty_log_grows_into_any_and_no_other_root_is_its() -> None:
    require_growth(Checkpoint("qingxiu", 0, EMPTY_ROOT), grown(3).checkpoint, grown(3).tile)
    with pytest.raises(LogRewritten):
        require_growth(Checkpoint("qingxiu", 0, bytes(32)), grown(3).checkpoint, grown(3).tile)


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_refusal_says_in_chinese_and_english_which_log_and_what(kind: type[LogRefused]) -> None:
    refused = kind(grown(7).checkpoint, grown(5).checkpoint)  # type: ignore[call-arg]
    zh, en = str(refused).split(" / ")
    assert zh.startswith("日志 qingxiu 被拒绝：")
    assert en.startswith("The log qingxiu is refused: ")


# ── What is written ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cosignature_reads_as_other_programs_write_it() -> None:
    found = Cosignature.parse(LINE)
    assert (found.name, found.hash.hex(), found.seconds) == ("witness.example.com/w1", "8d66cf3f", 1679315147)
    assert found.at.isoformat() == "2023-03-20T12:25:47+00:00"
    assert found.line() == LINE
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosigned_message(text, 1679315147).decode() == f"cosignature/v1\ntime 1679315147\n{text}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE[:-1],
        LINE + "\n",
        LINE.replace("— ", "- "),
        LINE.replace("witness.example.com/w1", ""),
        LINE.replace("witness.example.com/w1", "a+b"),
        LINE.replace("witness.example.com/w1", "x" * 101),
        LINE.replace("AAAABkGFDL", "//AABkGFDL"),
        LINE.replace("AAAABkGFDL", "AAAAAAAAAAA"),
        LINE.replace("jWbP", "jWb"),
        "— w AAAA\n",
    ],
)
def test_what_is_no_cosignature_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - base64 raises its own
        Cosignature.parse(line)


@given(st.binary(min_size=4, max_size=4), st.integers(1, 253_402_300_799), st.binary(min_size=64, max_size=64))
def test_every_cosignature_reads_back(hashed: bytes, seconds: int, signature: bytes) -> None:
    one = Cosignature("audit.example/a001", hashed, seconds, signature)
    assert Cosignature.parse(one.line()) == one


def test_a_witnesss_key_is_of_its_own_kind() -> None:
    key = VerifierKey.of("audit.example/a001", bytes(range(32)), COSIGNATURE)
    assert witness_key(str(key)) == key
    assert key.hash != VerifierKey.of(key.name, key.public_key).hash
    for other in (str(key._replace(algorithm=b"\x01")), str(VerifierKey.of(key.name, key.public_key)), "nonsense"):
        with pytest.raises(ValueError):  # noqa: PT011 - base64 raises its own
            witness_key(other)
    with pytest.raises(ValueError, match="verifier key"):
        VerifierKey.parse(str(key))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u3000b", "a\x00", "x" * 101])
def test_a_name_that_no_note_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a witness's name"):
        require_name(name)


KEPT, SEEN = (log.checkpoint.text() + "\n— qingxiu AAAA\n" for log in (grown(7), grown(5)))


def test_a_report_reads_as_it_is_written_and_in_no_other_way() -> None:
    report = RefusedLog("truncated", "2026-10-31T09:00:00+00:00", KEPT, SEEN)
    text = report.text()
    assert RefusedLog.parse(text) == report
    for altered in ("", text[:-1], text + "\n", text.replace("truncated", "unknown"), text.replace("\n\n", "\n", 1)):
        with pytest.raises(ValueError, match="no report"):
            RefusedLog.parse(altered)
