"""The witness's machine: what it keeps and cosigns, and that it never cosigns two histories, whenever it is killed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from domain.checkpoint import Checkpoint, NoCheckpoint
from domain.merkle import Tile
from domain.witness import RefusedLog
from infrastructure.signing import (
    CosigningKey,
    NoteNotGenuine,
    SigningKeyExists,
    SigningKeyUnusable,
    cosignatures,
    create_key,
    create_witness_key,
    read_witness_key,
    rotate_key,
    successions,
    verified,
)
from infrastructure.witness import KEY_FILE, KeptDamaged, LogUnreachable, Refused, RemoteLog, Witness
from tests.api.processes import Command, run, until
from tests.contract.far_log import KEY, FarLog, far_log
from tests.contract.test_signing import NOW
from tests.domain.test_witness import Log, grown

NAME, SECONDS, RACERS = "audit.example/a001", 1_793_437_200, 16


@pytest.fixture
def log() -> Iterator[FarLog]:
    with far_log() as shown:
        yield shown


@pytest.fixture
def key(tmp_path: Path) -> CosigningKey:
    return create_witness_key(tmp_path / KEY_FILE, NAME)


@pytest.fixture
def witness(tmp_path: Path, key: CosigningKey) -> Witness:
    return Witness(tmp_path, key, lambda: SECONDS)


def kept(tmp_path: Path) -> str:
    return (tmp_path / "qingxiu.checkpoint").read_text()


def test_what_has_grown_is_kept_cosigned_and_handed_in(
    log: FarLog, witness: Witness, key: CosigningKey, tmp_path: Path
) -> None:
    for before, size in ((None, 7), (7, 7), (7, 300), (300, 70_000)):
        note = log.show(grown(size))
        looked = witness.look(RemoteLog(log.address), KEY.verifier)
        assert (looked.before, looked.checkpoint.size, looked.handed_in) == (before, size, 200)
        assert looked.cosignature.seconds == SECONDS
        cosigned = note + looked.cosignature.line()
        assert verified(cosigned, [KEY.verifier]) == log.log.checkpoint.text()
        assert cosignatures(cosigned, [key.verifier]) == {key.verifier: looked.cosignature}
        assert kept(tmp_path) == cosigned
        assert log.handed_in[-1] == (size, cosigned)


def test_a_checkpoint_that_carries_our_cosignature_is_not_signed_again(log: FarLog, witness: Witness) -> None:
    first = witness.look(RemoteLog(log.address), KEY.verifier)
    log.note += first.cosignature.line()
    again = witness.look(RemoteLog(log.address), KEY.verifier)
    assert (again.cosignature, again.handed_in, again.carried) == (first.cosignature, None, True)
    assert len(log.handed_in) == 1


def test_what_was_not_taken_is_handed_in_again_as_it_was(log: FarLog, witness: Witness, key: CosigningKey) -> None:
    log.takes = 403
    first = witness.look(RemoteLog(log.address), KEY.verifier)
    assert first.handed_in == 403
    log.takes = 200
    later = Witness(witness._directory, key, lambda: SECONDS + 60).look(RemoteLog(log.address), KEY.verifier)
    assert (later.cosignature, later.handed_in) == (first.cosignature, 200)


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("truncated", grown(250)), ("forked", grown(300, altered=2)), ("rewritten", grown(900, altered=299))],
)
def test_another_history_is_refused_reported_and_never_kept(
    log: FarLog, witness: Witness, tmp_path: Path, kind: str, seen: Log
) -> None:
    log.show(grown(300))
    witness.look(RemoteLog(log.address), KEY.verifier)
    before, handed_in = kept(tmp_path), list(log.handed_in)
    note = log.show(seen)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            witness.look(RemoteLog(log.address), KEY.verifier)
        assert refused.value.reason.kind == kind
        report = RefusedLog.parse(refused.value.report.read_text())
        assert (report.kind, report.kept, report.seen) == (kind, before, note)
        assert verified(report.kept, [KEY.verifier]) != verified(report.seen, [KEY.verifier])
    assert [path.name for path in (tmp_path / "refused").iterdir()] == [refused.value.report.name]
    assert (kept(tmp_path), log.handed_in) == (before, handed_in)
    log.show(grown(901))
    assert witness.look(RemoteLog(log.address), KEY.verifier).before == 300


def test_a_log_that_hides_its_tiles_is_refused(log: FarLog, witness: Witness) -> None:
    witness.look(RemoteLog(log.address), KEY.verifier)
    log.show(grown(600))
    log.log = grown(7)
    with pytest.raises(Refused, match="nothing proves that 600 facts grew from 7"):
        witness.look(RemoteLog(log.address), KEY.verifier)


def test_a_full_tile_stands_in_for_a_narrower_one_that_is_no_longer_there(log: FarLog) -> None:
    log.show(grown(300))
    whole = log.log.tile(Tile(0, 0))

    def gone(tile: Tile) -> bytes:
        if tile.width < 256:
            raise LookupError(tile)
        return whole

    log.log.tile = gone  # type: ignore[method-assign]
    assert RemoteLog(log.address).tile(Tile(0, 0, 200)) == whole[: 200 * 32]


def test_what_the_key_has_not_signed_is_not_the_logs(log: FarLog, witness: Witness, tmp_path: Path) -> None:
    for note, wrong in (
        (log.note.replace("qingxiu\n7", "qingxiu\n8"), NoteNotGenuine),
        (KEY.sign("qingxiu\nseven\n"), NoCheckpoint),
        (KEY.sign(log.log.checkpoint._replace(origin="xingning").text()), NoCheckpoint),
    ):
        log.note = note
        with pytest.raises(wrong):
            witness.look(RemoteLog(log.address), KEY.verifier)
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_log_whose_key_was_rotated_is_followed(log: FarLog, witness: Witness, tmp_path: Path) -> None:
    log.key = create_key(tmp_path / "ledger", "qingxiu")
    trusted = log.key.verifier
    log.show(grown(7))
    witness.look(RemoteLog(log.address), trusted)
    rotated = rotate_key(tmp_path / "ledger", "qingxiu", NOW)
    assert rotated is not None
    log.key = rotated
    log.show(grown(9))
    with pytest.raises(NoteNotGenuine):
        witness.look(RemoteLog(log.address), trusted)
    log.successions = "".join(successions(tmp_path / "ledger", "qingxiu"))
    assert witness.look(RemoteLog(log.address), trusted).before == 7


def test_a_log_that_can_not_be_read_is_not_called_dishonest(log: FarLog, witness: Witness) -> None:
    witness.look(RemoteLog(log.address), KEY.verifier)
    log.show(grown(9))

    def fail(path: str) -> None:
        if path.startswith("tile"):
            raise ConnectionError("gone")

    log.before = fail
    with pytest.raises(LogUnreachable):
        witness.look(RemoteLog(log.address), KEY.verifier)
    log.before = None
    log.note = "x" * 200_000
    with pytest.raises(LogUnreachable, match="> 100000 B"):
        witness.look(RemoteLog(log.address), KEY.verifier)
    for address in ("", "nonsense", "ftp://a.example/log", "http://", "http://a.example:x/", "http://a.example/日志"):
        with pytest.raises(LogUnreachable):
            RemoteLog(address)


def test_a_kept_checkpoint_that_is_damaged_is_not_taken_for_a_first_look(
    log: FarLog, witness: Witness, tmp_path: Path
) -> None:
    witness.look(RemoteLog(log.address), KEY.verifier)
    whole = kept(tmp_path)
    for damaged in (b"", b"\xff", whole.encode()[:20], whole[:-20].encode() + b"AAAAAAAAAAAAAAAAA==\n"):
        (tmp_path / "qingxiu.checkpoint").write_bytes(damaged)
        with pytest.raises(KeptDamaged):
            witness.look(RemoteLog(log.address), KEY.verifier)


def test_others_lines_on_a_checkpoint_are_not_kept(log: FarLog, witness: Witness, tmp_path: Path) -> None:
    log.note += "— a.b/c AAAABBBB\n" * 99
    witness.look(RemoteLog(log.address), KEY.verifier)
    assert kept(tmp_path).count("— ") == 2
    witness.look(RemoteLog(log.address), KEY.verifier)


def test_a_key_is_made_once_for_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "home" / KEY_FILE
    assert read_witness_key(path) is None
    made = create_witness_key(path, NAME)
    assert path.stat().st_mode & 0o777 == 0o600
    read = read_witness_key(path)
    assert read is not None
    assert read.verifier == made.verifier
    with pytest.raises(SigningKeyExists):
        create_witness_key(path, NAME)
    path.chmod(0o644)
    with pytest.raises(SigningKeyUnusable, match="chmod 600"):
        read_witness_key(path)
    path.chmod(0o600)
    for content in ("", "PRIVATE+KEY+a+00000000+BA==\n", path.read_text().replace(NAME, "another")):
        path.write_text(content)
        with pytest.raises(SigningKeyUnusable):
            read_witness_key(path)


# ── Races and crashes ────────────────────────────────────────────────────────────────────────────────────────────


def test_sixteen_looks_at_once_cosign_one_history(log: FarLog, key: CosigningKey, tmp_path: Path) -> None:
    """While the log grows, and shows another history every other time."""
    turn = threading.Lock()
    asked = 0
    honest = [grown(size) for size in range(7, 200)]
    forged = [grown(size, altered=3) for size in range(7, 200)]

    def next_one(path: str) -> None:
        nonlocal asked
        if path == "checkpoint":
            with turn:
                asked += 1
                log.show((honest if asked % 2 else forged)[min(asked, len(honest) - 1)])

    log.before = next_one
    barrier = threading.Barrier(RACERS)

    def race(_: int) -> tuple[int, int]:
        barrier.wait()
        accepted = refused = 0
        for _ in range(10):
            try:
                Witness(tmp_path, key).look(RemoteLog(log.address), KEY.verifier)
                accepted += 1
            except Refused:
                refused += 1
        return accepted, refused

    with ThreadPoolExecutor(RACERS) as pool:
        counted = list(pool.map(race, range(RACERS)))
    assert sum(accepted for accepted, _ in counted) == sum(refused for _, refused in counted) == RACERS * 5
    assert log.sizes() <= {one.checkpoint[1:] for one in honest}
    assert len({size for size, _ in log.sizes()}) == len(log.handed_in)


class Killed(BaseException):
    """The process ends here."""


STEPS: list[tuple[object, str]] = [(os, "fsync"), (os, "open"), (Path, "rename"), (CosigningKey, "cosign")]


@pytest.mark.parametrize("step", range(40))
def test_a_witness_that_is_killed_at_any_step_never_cosigns_two_histories(
    log: FarLog, key: CosigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At the n-th call that reaches the disk or signs, as it is done and before it is; then the log shows another."""
    given: list[str] = []
    real = CosigningKey.cosign

    def cosign(self: CosigningKey, text: str, seconds: int) -> Any:
        given.append(text)
        return real(self, text, seconds)

    monkeypatch.setattr(CosigningKey, "cosign", cosign)
    log.show(grown(7))
    Witness(tmp_path, key).look(RemoteLog(log.address), KEY.verifier)
    log.show(grown(9))
    with monkeypatch.context() as patched:
        calls = 0

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls * 2 == step + 1:
                    raise Killed
                done = call(*arguments, **named)
                if calls * 2 == step:
                    raise Killed
                return done

            return called

        for place, name in STEPS:
            patched.setattr(place, name, dying(getattr(place, name)))
        try:
            Witness(tmp_path, key).look(RemoteLog(log.address), KEY.verifier)
            finished = True
        except Killed:
            finished = False
    assert finished or step <= calls * 2
    for shown in (grown(9, altered=8), grown(12, altered=8), grown(9), grown(12), grown(12, altered=11)):
        log.show(shown)
        try:
            Witness(tmp_path, key).look(RemoteLog(log.address), KEY.verifier)
        except Refused:
            continue
    trees = [Checkpoint.parse(text) for text in given]
    honest, forged = ({grown(size, altered=at).checkpoint for size in (9, 12)} for at in (None, 8))
    assert not (honest & {*trees} and forged & {*trees})
    assert len({tree.size for tree in trees}) == len({*trees}), "two trees of one size were cosigned"


@pytest.mark.parametrize("at", ["tile", "checkpoints"])
@pytest.mark.usefixtures("key")
def test_a_process_that_is_killed_before_or_after_it_cosigns_goes_on_from_what_it_kept(
    log: FarLog, tmp_path: Path, at: str
) -> None:
    command = ("witness", log.address, "--key", str(KEY.verifier), "--once")
    settings = {"TIMEBANK_WITNESS": str(tmp_path)}
    assert run(*command, **settings).returncode == 0
    log.show(grown(9))
    witness: Command
    started = threading.Event()
    ended: list[int] = []

    def kill(path: str) -> None:
        if path.startswith(at):
            started.wait()
            witness.send_signal(signal.SIGKILL)
            ended.append(witness.wait())

    log.before = kill
    witness = Command(*command, **settings)
    started.set()
    until(lambda: ended == [-signal.SIGKILL])
    log.before = None
    log.show(grown(9, altered=8))
    again = run(*command, **settings)
    if at == "tile":  # nothing was kept or cosigned: this is the first history of nine that it sees
        assert again.returncode == 0, again.stderr
        log.show(grown(9))
        again = run(*command, **settings)
    assert again.returncode == 3
    assert "it has forked" in again.stderr
