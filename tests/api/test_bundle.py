"""The bundle of a real ledger: what it holds is what the service answers, and nobody's name is in it."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection

from api.bundle import export
from api.disclosure import checkpoint_size, prepared
from api.wiring import Timebank, known, timebank
from application.bundle import (
    BALANCES,
    CHECKPOINT,
    LOG_KEYS,
    MANIFEST,
    SUCCESSIONS,
    WITNESS_KEYS,
    NoSuchPeriod,
    NothingRecorded,
    read_balances,
    read_checkpoints,
    read_facts,
    read_figures,
    read_keys,
    read_manifest,
    read_policies,
    read_text,
)
from application.write_loop import Ticket
from domain.checkpoint import Checkpoint
from domain.decision import Actor
from domain.disclosure import Disclosure, seal_period
from domain.hours import ConfirmHours, LogHours, confirm, log
from domain.leaf import unbundled
from domain.merkle import leaf_hash, root
from domain.statement import NoSigningKey, VerifierKey
from infrastructure.cosignature import keep_cosignature, trust
from infrastructure.log import checkpoint_of
from infrastructure.signing import (
    CosigningKey,
    create_key,
    read_key,
    rotate_key,
    split_successions,
    succeeding,
    verified,
)
from tests.api.processes import answer, run
from tests.api.service import Api, register_places, serving
from tests.conftest import settings_for
from tests.projections.history import projecting


@pytest.fixture
def district(sample_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of the small sample district, with all of its scenes played."""
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": str(tmp_path / "data")}
    assert answer("sample-scenes", **settings)["refused"] == []
    return settings


@pytest.fixture
def bank(open_bank: Callable[..., Timebank], tmp_path: Path) -> Timebank:
    """A new ledger with a key, where from the last day of a month one logs back to that of the one before."""
    opened = open_bank(log_days_back_max=31)
    opened.settings = opened.settings.model_copy(update={"data": tmp_path / "data"})
    create_key(opened.settings.data, opened.name)
    return opened


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if not path.is_dir()}


def changed(address: str, statement: str, *parameters: object) -> None:
    """As somebody who owns the database would."""
    with psycopg.connect(address) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("ALTER TABLE facts DISABLE TRIGGER USER")
        connection.execute(statement.encode(), parameters)
        connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER refuse_change")
        connection.execute("ALTER TABLE facts ENABLE TRIGGER admit_facts")


def sign(bank: Timebank) -> int:
    """Seal and sign everything; returns the size."""
    with closing(bank.sealer()) as sealer:
        size = sealer.catch_up()
        assert sealer.sign() is not None
    return size


def test_an_exported_district_is_the_ledger_and_what_is_counted_of_it(district: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    exported = answer("audit", "export", directory, **district)
    manifest = read_manifest(directory)
    assert exported == {
        "directory": str(directory),
        "ledger": "qingxiu",
        "size": manifest.size,
        "period": None,
        "files": len(manifest.files),
        "bytes": sum(file.bytes for file in manifest.files),
        "synthetic": True,
    }
    counted = answer("replay", **district)
    assert counted["position"] == manifest.size == read_figures(directory).position
    assert read_balances(directory) == counted["balances"]
    figures = read_figures(directory)
    assert json.loads((directory / "figures.json").read_text())["figures"] == counted["figures"]
    assert sum(cell.service_minutes for cell in figures.cells["month"].values()) == figures.figures.service_minutes
    by_grid = answer("figures", "--by", "grid", "--level", 2, "--basis", "recorded", **district)["cells"]
    assert {cell["key"]: cell["service_minutes"] for cell in by_grid} == {
        key: cell.service_minutes for key, cell in figures.cells["grid 2"].items()
    }
    with timebank(settings_for(district["TIMEBANK_DATABASE_URL"])) as opened:
        stored = [tuple(fact) for facts in opened.store.scan_stored() for fact in facts]
    assert [
        (one.position, one.recorded_at_microseconds, one.type, one.tags, bytes(one.data))
        for one in read_facts(directory)
    ] == stored
    assert list(read_policies(directory)) == [1, 2, 3]


def test_the_same_ledger_is_the_same_bundle_to_the_byte(district: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "other"):
        answer("audit", "export", tmp_path / name, **district)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")


def test_the_log_is_what_the_service_answers_under_the_same_paths(district: dict[str, str], tmp_path: Path) -> None:
    settings = settings_for(district["TIMEBANK_DATABASE_URL"]).model_copy(
        update={"data": Path(district["TIMEBANK_DATA"])}
    )
    with timebank(settings) as bank, serving(bank) as api:
        for name in ("one", "rotated"):
            directory = tmp_path / name
            export(bank, directory, None)
            paths = [path for path in files_of(directory) if path.startswith("log/")]
            assert len(paths) > 10
            for path in paths:
                answered = api.get("/v1/" + path, "auditor")
                assert (answered.status_code, answered.content) == (200, (directory / path).read_bytes()), path
            rotate_key(settings.data, bank.name, datetime.now(bank.zone))
    first, second = (read_keys(tmp_path / name, LOG_KEYS) for name in ("one", "rotated"))
    assert second[:-1] == first
    trusted = succeeding([VerifierKey.parse(first[0])], split_successions(read_text(tmp_path / "rotated", SUCCESSIONS)))
    assert [str(one) for one in trusted] == second
    checkpoint = Checkpoint.parse(verified(read_text(tmp_path / "rotated", CHECKPOINT), trusted[1:]))
    entries = sorted((tmp_path / "rotated" / "log" / "tile" / "entries").rglob("*"))
    leaves = [leaf for path in entries if path.is_file() for leaf in unbundled(path.read_bytes())]
    assert (checkpoint.size, checkpoint.root) == (len(leaves), root([leaf_hash(leaf) for leaf in leaves]))


def test_no_name_contact_or_remark_is_in_it(district: dict[str, str], tmp_path: Path) -> None:
    with psycopg.connect(district["TIMEBANK_DATABASE_URL"]) as connection:
        kept = {text for (text,) in connection.execute("SELECT name FROM vault_people")}
        for (remark,) in connection.execute("SELECT remark FROM vault_remarks"):
            # What a certificate shows of people, and the code that it is verified with, are kept together.
            kept |= set(json.loads(remark).values()) if remark.startswith("{") else {remark}
    assert len(kept) > 10
    answer("audit", "export", tmp_path / "bundle", **district)
    for path, content in files_of(tmp_path / "bundle").items():
        found = [text for text in kept if text.encode() in content]
        assert found == [], path


def test_a_month_ends_with_the_first_checkpoint_that_holds_what_was_recorded_in_it(
    bank: Timebank, tmp_path: Path, api_of: Callable[[Timebank], Api]
) -> None:
    api = api_of(bank)
    register_places(api)
    api.new_volunteer()
    month_end = datetime.now(bank.zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(seconds=1)
    changed(bank.owner_address, "UPDATE facts SET recorded_at = %s WHERE ledger = %s", month_end, bank.name)
    api.new_volunteer()
    first = sign(bank)
    api.new_volunteer()
    last = sign(bank)
    period = f"{month_end:%Y-%m}"
    assert (export(bank, tmp_path / "month", period).size, export(bank, tmp_path / "all", None).size) == (first, last)
    assert read_manifest(tmp_path / "month").period == period
    assert len(list(read_facts(tmp_path / "month"))) == first
    month, whole = files_of(tmp_path / "month"), files_of(tmp_path / "all")
    assert whole[f"checkpoints/{first}.note"] == month[CHECKPOINT]
    assert read_checkpoints(tmp_path / "month") == {}
    # The whole began as the month did, to the byte.
    assert whole["facts.jsonl"].startswith(month["facts.jsonl"])
    key = read_key(bank.settings.data, bank.name)
    assert key is not None
    assert Checkpoint.parse(verified(month[CHECKPOINT].decode(), [key.verifier])).size == first
    with pytest.raises(NothingRecorded):
        export(bank, tmp_path / "none", "2019-12")
    for text in (f"{datetime.now(bank.zone):%Y-%m}", "2999-01", "October"):
        with pytest.raises(NoSuchPeriod):
            export(bank, tmp_path / "none", text)
    assert not (tmp_path / "none").exists()


def test_a_sealed_month_ends_with_what_its_seal_counted(
    bank: Timebank, tmp_path: Path, api_of: Callable[[Timebank], Api]
) -> None:
    api = api_of(bank)
    register_places(api)
    person = api.new_volunteer()
    month_end = datetime.now(bank.zone).date().replace(day=1) - timedelta(days=1)
    period = f"{month_end:%Y-%m}"
    days_ago = (datetime.now(bank.zone).date() - month_end).days
    record = LogHours.model_validate(person.hours(days_ago=days_ago) | {"record": "N-1"})
    api.record((log, record), actor=Actor("S1", "staff"))
    api.record((confirm, ConfirmHours(record="N-1")), actor=Actor("S2", "staff"))
    seal_of(bank, period)
    api.new_volunteer()
    sign(bank)
    sealed = known(bank.store, Disclosure.of(period)).sealed
    assert sealed is not None
    exported = export(bank, tmp_path / "month", period)
    assert (exported.size, exported.period) == (sealed.watermark, period)
    assert Checkpoint.of_note(read_text(tmp_path / "month", CHECKPOINT)).size == sealed.watermark
    counted = read_figures(tmp_path / "month").cells["month"][period]
    assert (counted.service_minutes, counted.service_records) == (sealed.service_minutes, sealed.service_records)
    assert counted.service_minutes == 60


def test_a_month_that_was_sealed_without_a_checkpoint_ends_with_the_next_one(
    open_bank: Callable[..., Timebank], tmp_path: Path, api_of: Callable[[Timebank], Api]
) -> None:
    bank = open_bank()
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data"})
    register_places(api_of(bank))
    period = f"{datetime.now(bank.zone).date().replace(day=1) - timedelta(days=1):%Y-%m}"
    seal_of(bank, period)
    create_key(bank.settings.data, bank.name)
    assert export(bank, tmp_path / "month", period).size == bank.store.head() == sign(bank)


def seal_of(bank: Timebank, period: str) -> None:
    """Seal a month, as `timebank disclose` does."""
    size = checkpoint_size(bank)
    assert size in (0, bank.store.head())
    with projecting(bank) as projector:
        projector.catch_up()
    bank.run(Ticket(seal_period, prepared(bank, period, size), Actor("D1", "admin"), "a" * 32))


@pytest.fixture
def api_of() -> Iterator[Callable[[Timebank], Api]]:
    """Records what the tests of the API record, without a service: nothing is sealed behind the test's back."""
    opened: list[Api] = []

    def make(bank: Timebank) -> Api:
        opened.append(Api(bank, "http://127.0.0.1:1"))
        return opened[-1]

    yield make
    for api in opened:
        api.client.close()


def test_cosignatures_go_with_their_checkpoints_and_witnesses_keys_with_them(
    bank: Timebank, tmp_path: Path, api_of: Callable[[Timebank], Api]
) -> None:
    witness = CosigningKey("audit.example/a1", Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    register_places(api_of(bank))
    with psycopg.connect(bank.owner_address) as connection:
        trust(connection, bank.name, witness.verifier)
    older = cosigned(bank, sign(bank), witness)
    sign(bank)
    api_of(bank).new_volunteer()
    newest = cosigned(bank, sign(bank), witness)
    export(bank, tmp_path / "bundle", None)
    assert read_keys(tmp_path / "bundle", WITNESS_KEYS) == [str(witness.verifier)]
    (note,) = read_checkpoints(tmp_path / "bundle").values()
    assert note.endswith(older)
    assert read_text(tmp_path / "bundle", CHECKPOINT).endswith(newest)


def cosigned(bank: Timebank, size: int, witness: CosigningKey) -> str:
    """Have the checkpoint of a size cosigned; returns the line."""

    async def cosign() -> str:
        async with await AsyncConnection.connect(bank.address, autocommit=True) as connection:
            note = await checkpoint_of(connection, bank.name, size)
            assert note is not None
            line = witness.cosign(note.partition("\n\n")[0] + "\n", int(time.time())).line()
            assert await keep_cosignature(connection, bank.name, size, line) is not None
            return line

    return asyncio.run(cosign())


def test_what_is_recorded_while_it_is_written_is_not_in_it(
    bank: Timebank, tmp_path: Path, api_of: Callable[[Timebank], Api]
) -> None:
    api = api_of(bank)
    register_places(api)
    size = bank.store.head()
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        api.new_volunteer()

    assert export(bank, tmp_path / "bundle", None, progress).size == size
    assert told == [(size, size)]
    assert bank.store.head() > size


def test_a_ledger_without_a_key_makes_no_bundle(open_bank: Callable[..., Timebank], tmp_path: Path) -> None:
    bank = open_bank()
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data"})
    with pytest.raises(NoSigningKey):
        export(bank, tmp_path / "bundle", None)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("full",), "isn't an empty directory"),
        (("new", "--period", "2999-01"), "no month that is over"),
        (("new", "--period", "2019-01"), "held no fact"),
        (("new", "--period", "last"), "no month that is over"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    sample_url: str, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": tmp_path / "data"}
    answer("keys", "init", **settings)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("mine")
    name, *options = arguments
    done = run("audit", "export", tmp_path / name, *options, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert named in done.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists()
    assert files_of(tmp_path / "full") == {"letter": b"mine"}


def test_people_are_told_in_plain_lines(district: dict[str, Any], tmp_path: Path) -> None:
    done = run("audit", "export", tmp_path / "bundle", **district)
    assert done.returncode == 0
    assert "条事实 facts" in done.stdout
    assert "合成数据" in done.stdout
    assert (tmp_path / "bundle" / MANIFEST).exists()
    assert (tmp_path / "bundle" / BALANCES).read_text().startswith("account,household,minutes\nhousehold:")
