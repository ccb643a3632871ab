"""A witness at work: it follows a running service over HTTP with no database, and finds out what its owner does."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.conninfo import make_conninfo

from api.wiring import Timebank
from domain.checkpoint import Checkpoint
from domain.statement import VerifierKey
from domain.witness import Cosignature, witness_key
from infrastructure.signing import CosigningKey, create_key, require_cosigned
from tests.api.processes import Command, answer, run, until
from tests.api.service import Api, register_places, serving

NAME = "audit.example/a001"


@pytest.fixture
def api(open_bank: Callable[..., Timebank], tmp_path: Path) -> Iterator[Api]:
    bank = open_bank()
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data", "checkpoint_seconds": 1})
    with serving(bank) as served:
        register_places(served)
        yield served


@pytest.fixture
def key(api: Api) -> VerifierKey:
    return create_key(api.bank.settings.data, api.bank.name).verifier


class Auditor:
    """Somebody with a machine of their own, which has neither database nor data of the ledger's."""

    def __init__(self, api: Api, key: VerifierKey, home: Path) -> None:
        self.address = str(api.client.base_url).rstrip("/") + "/v1/log"
        self.key = key
        self.settings = {"TIMEBANK_DATA": str(home)}
        self.witness = answer("witness", "init", NAME, **self.settings)["key"]

    def command(self, *more: str) -> tuple[str, ...]:
        return ("witness", self.address, "--key", str(self.key), *more)

    def look(self) -> subprocess.CompletedProcess[str]:
        return run(*self.command("--once"), **self.settings)


@pytest.fixture
def auditor(api: Api, key: VerifierKey, tmp_path: Path) -> Auditor:
    return Auditor(api, key, tmp_path / "auditor")


def operator(api: Api) -> dict[str, object]:
    """The operator's own settings."""
    address = make_conninfo(api.bank.owner_address)
    return {
        "TIMEBANK_DATABASE_URL": address,
        "TIMEBANK_LEDGER": api.bank.name,
        "TIMEBANK_DATA": str(api.bank.settings.data),
    }


def sealed(api: Api) -> str:
    """The checkpoint, once it holds everything that was recorded."""
    note = ""

    def holds_all() -> bool:
        nonlocal note
        response = api.get("/v1/log/checkpoint")
        note = response.text
        return response.status_code == 200 and Checkpoint.parse(body(note)).size == api.bank.store.head()

    until(holds_all)
    return note


def body(note: str) -> str:
    return note.partition("\n\n")[0] + "\n"


def test_a_witness_cosigns_a_running_service_and_what_it_has_cosigned_is_demanded_offline(
    api: Api, key: VerifierKey, auditor: Auditor, tmp_path: Path
) -> None:
    sealed(api)
    early = auditor.look()
    assert early.returncode == 1
    assert "timebank witness trust" in early.stderr
    assert "副签于 cosigned" in early.stdout  # it has kept and cosigned all the same
    assert answer("witness", "trust", auditor.witness, **operator(api)) == {"trusted": auditor.witness}
    assert answer("witness", "list", **operator(api))["witnesses"] == [auditor.witness]
    first = auditor.look()
    assert (first.returncode, first.stderr) == (0, "")
    older = sealed(api)
    person = api.new_volunteer()
    written = api.wrote("/v1/hours", person.hours(), person.number)
    sealed(api)
    looked = answer(*auditor.command("--once"), **auditor.settings)
    newer = sealed(api)
    sizes = [Checkpoint.parse(body(note)).size for note in (older, newer)]
    assert ([looked["size_before"], looked["size"]], looked["carried"]) == (sizes, True)
    for size, note in zip(sizes, (older, newer), strict=True):
        found = api.get(f"/v1/log/checkpoints/{size}")
        assert found.text == note
        assert found.headers["cache-control"] == "public, max-age=60"
        require_cosigned(note, [witness_key(auditor.witness)])
    listed = api.get("/v1/log/checkpoints", None, after=sizes[0] - 1).json()["items"]
    assert [(one["size"], one["cosignatures"]) for one in listed if one["size"] in sizes] == [
        (sizes[0], 1),
        (sizes[1], 1),
    ]

    receipt = api.get(f"/v1/facts/{written['position']}/proof", person.number).text
    consistency = api.get(f"/v1/log/consistency/{sizes[0]}/{sizes[1]}").text
    shown = run("consistency", *sizes, **operator(api)).stdout
    other = CosigningKey("audit.example/b", Ed25519PrivateKey.generate()).verifier
    file, offline = tmp_path / "file", {"TIMEBANK_DATA": str(tmp_path / "elsewhere")}
    for text, cosigned in ((receipt, True), (newer, True), (shown, True), (consistency, False)):
        file.write_text(text)
        options = ("--key", str(key), "--witness", auditor.witness)
        demanded = run("verify", file, *options, **offline)
        assert (demanded.returncode == 0) is cosigned, demanded.stderr
        assert ("副签于 cosigned" in demanded.stdout) is cosigned
        assert answer("verify", file, "--key", key, **offline)["witnesses"] == []
        refused = run("verify", file, *options, "--witness", other, **offline)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "has not cosigned this" in refused.stderr
    assert "--witness" in run("verify", file, "--key", key, "--witness", key, **offline).stderr


def test_a_witness_follows_until_it_is_told_to_end(api: Api, auditor: Auditor) -> None:
    assert answer("witness", "trust", auditor.witness, **operator(api))
    witness = Command(*auditor.command("--seconds", "1"), **auditor.settings)

    def cosigned() -> bool:
        assert witness.running, witness.stderr
        return sealed(api).count("— ") == 2

    try:
        for _ in range(2):
            api.new_volunteer()
            until(cosigned)
        until(lambda: witness.stdout.count("副签于 cosigned") >= 2)  # the ledger has it a moment before it is said
    finally:
        witness.send_signal(signal.SIGTERM)
    assert witness.wait() == 128 + signal.SIGTERM


# ── What whoever owns the database and the key can do ────────────────────────────────────────────────────────────

CHANGE_A_FACT = "UPDATE facts SET recorded_at = recorded_at - interval '1 second' WHERE ledger = %s AND position = 2"
REMOVE_THE_TAIL = (
    "UPDATE ledgers SET head = head - 2 WHERE ledger = %s",
    "DELETE FROM facts WHERE ledger = %s AND position > (SELECT head FROM ledgers WHERE ledgers.ledger = facts.ledger)",
)


def rewrite(api: Api, *statements: str) -> None:
    """As the owner of the database, who lets the log be made and signed anew."""
    log = [f"DELETE FROM {table} WHERE ledger = %s" for table in ("log_heads", "log_tiles", "log_checkpoints")]
    guards = (("facts", "refuse_change"), ("ledgers", "advance_ledger"))
    with psycopg.connect(api.bank.owner_address) as connection:
        for table, guard in guards:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {guard}".encode())
        for statement in (*statements, *log):
            connection.execute(statement.encode(), (api.bank.name,))
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table, guard in guards:
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}".encode())
    until(lambda: api.get("/v1/log/checkpoint").status_code == 200)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("forked", "it has forked, for two roots were signed"),
        ("rewritten", "it was rewritten, for its first"),
        ("truncated", "it was truncated, for it had"),
    ],
)
def test_a_log_that_was_made_anew_and_signed_with_the_same_key_is_refused_and_reported(
    api: Api, key: VerifierKey, auditor: Auditor, tmp_path: Path, kind: str, named: str
) -> None:
    answer("witness", "trust", auditor.witness, **operator(api))
    api.new_volunteer()
    before = sealed(api)
    assert auditor.look().returncode == 0
    rewrite(api, *(REMOVE_THE_TAIL if kind == "truncated" else (CHANGE_A_FACT,)))
    if kind == "rewritten":
        api.new_volunteer()
    after = sealed(api)
    refused = auditor.look()
    assert (refused.returncode, refused.stdout) == (3, "")
    assert named in refused.stderr
    (report,) = (Path(auditor.settings["TIMEBANK_DATA"]) / "witness" / "refused").iterdir()
    assert str(report) in refused.stderr
    shown = answer("verify", report, "--key", key, "--witness", auditor.witness, TIMEBANK_DATA=tmp_path / "third")
    assert (shown["refused"], shown["witnesses"][0]["key"]) == (kind, auditor.witness)
    for name, note in (("kept", before), ("seen", after)):
        assert shown[name]["log_size"] == Checkpoint.parse(body(note)).size
    assert run("verify", report, "--key", auditor.witness.replace(NAME, "x"), **auditor.settings).returncode == 1


# ── Handing in ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("key")
def test_what_is_handed_in_is_taken_from_trusted_witnesses_alone_and_is_small(api: Api) -> None:
    witness = CosigningKey(NAME, Ed25519PrivateKey.generate())
    text = body(sealed(api))
    size = Checkpoint.parse(text).size
    given = witness.cosign(text, int(time.time())).line()

    def put(line: Any, path: str = f"/v1/log/checkpoints/{size}/cosignatures") -> Any:
        return api.request("PUT", path, content=line)

    api.problem(put(given), 403, "cosignature-refused")
    answer("witness", "trust", witness.verifier, **operator(api))
    for wrong in ("", "{}", given * 20, "x" * 1_001, b"\xff\xfe", given.replace(NAME, "audit.example/b")):
        api.problem(put(wrong), 403, "cosignature-refused")
    api.problem(put("x" * 3_000_000), 413, "body-too-large")
    api.problem(put(iter([given.encode()])), 411, "length-required")
    api.problem(put(given, f"/v1/log/checkpoints/{size + 1}/cosignatures"), 404, "not-found")
    api.problem(put(given, "/v1/log/checkpoints/0/cosignatures"), 422, "invalid-request")
    for _ in range(2):
        taken = put(given)
        assert taken.status_code == 200, taken.text
        assert taken.json() == {
            "size": size,
            "witness": NAME,
            "cosigned_at": Cosignature.parse(given).at.isoformat().replace("+00:00", "Z"),
        }
    assert api.get("/v1/log/checkpoint").text.endswith(given)
    answer("witness", "distrust", witness.verifier, **operator(api))
    assert run("witness", "distrust", witness.verifier, **operator(api)).returncode == 1
    api.problem(put(given), 403, "cosignature-refused")


@pytest.mark.usefixtures("key")
def test_checkpoints_that_there_are_not_are_not_found(api: Api) -> None:
    size = Checkpoint.parse(body(sealed(api))).size
    for path in (f"checkpoints/{size + 1}", f"consistency/{size}/{size + 1}", f"consistency/{size + 1}/{size}"):
        api.problem(api.get("/v1/log/" + path), 404, "not-found")
    for path in ("checkpoints/0", "checkpoints/x", "consistency/0/1", f"consistency/1/{2**63}"):
        api.problem(api.get("/v1/log/" + path), 422, "invalid-request")


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path: Path, sample_url: str) -> None:
    settings = {"TIMEBANK_DATA": str(tmp_path), "TIMEBANK_DATABASE_URL": sample_url}
    for arguments, named in (
        (("http://127.0.0.1:9/log", "--key", "x", "--once"), "timebank witness init"),
        (("show",), "timebank witness init"),
        (("init", "two words"), "spaces"),
        (("trust", "nonsense"), "timebank witness show"),
        (("distrust", "nonsense"), "timebank witness show"),
    ):
        done = run("witness", *arguments, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert named in done.stderr
        assert done.stderr.count("\n") == 1
    made = answer("witness", "init", NAME, **settings)
    assert answer("witness", "show", **settings) == made
    assert "already" in run("witness", "init", NAME, **settings).stderr
    key = create_key(tmp_path / "ledger", "qingxiu").verifier
    for arguments, named in (
        (("http://127.0.0.1:9/log", "--key", made["key"]), "--key"),
        (("nonsense", "--key", key), "nonsense"),
        (("http://127.0.0.1:9/log", "--key", key), "http://127.0.0.1:9/log/checkpoint"),
    ):
        done = run("witness", *arguments, "--once", **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert named in done.stderr
