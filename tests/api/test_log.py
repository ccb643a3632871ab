"""The log over HTTP: a client that knows nothing but the specification can check all of it."""

import base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.wiring import Timebank
from domain.checkpoint import Checkpoint, Receipt
from domain.leaf import Leaf, unbundled
from domain.merkle import leaf_hash, root
from domain.statement import VerifierKey
from infrastructure.signing import NoteNotGenuine, SigningKey, create_key, succeeding, verified
from tests.api.processes import answer, run, until
from tests.api.service import Api, register_places, serving

DEADLINE_SECONDS = 60


@pytest.fixture
def api(open_bank: Callable[..., Timebank], tmp_path: Path) -> Any:
    bank = open_bank()
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "data", "checkpoint_seconds": 1})
    with serving(bank) as served:
        register_places(served)
        yield served


@pytest.fixture
def key(api: Api) -> VerifierKey:
    return create_key(api.bank.settings.data, api.bank.name).verifier


def checkpoint(api: Api, key: VerifierKey) -> Checkpoint:
    """The checkpoint, once it holds everything that was recorded."""
    found = Checkpoint(api.bank.name, -1, b"")

    def holds_all() -> bool:
        nonlocal found
        response = api.get("/v1/log/checkpoint")
        if response.status_code != 200:
            api.problem(response, 503, "not-yet-sealed")
            assert response.headers["retry-after"]
            return False
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=1"
        found = Checkpoint.parse(response.text.partition("\n\n")[0] + "\n")
        return found.size == api.bank.store.head() and bool(signers(response.text, key))

    until(holds_all, DEADLINE_SECONDS)
    return found


def signers(note: str, *keys: VerifierKey) -> set[bytes]:
    """The public keys among these that have signed a note."""
    found = set()
    for one in keys:
        with suppress(NoteNotGenuine):
            verified(note, [one])
            found.add(one.public_key)
    return found


def receipt_of(api: Api, position: int, by: str) -> httpx.Response:
    return api.get(f"/v1/facts/{position}/proof", by)


def test_tiles_and_entries_give_the_signed_root(api: Api, key: VerifierKey) -> None:
    while api.bank.store.head() < 270:
        api.new_volunteer()
    found = checkpoint(api, key)
    rest = found.size - 256
    hashes, entries = b"", b""
    for path, caching in (("000", "max-age=31536000, immutable"), (f"001.p/{rest}", "max-age=60")):
        tile = api.get(f"/v1/log/tile/0/{path}")
        assert tile.headers["content-type"] == "application/octet-stream"
        assert tile.headers["cache-control"] == f"public, {caching}"
        hashes += tile.content
        bundle = api.get(f"/v1/log/tile/entries/{path}", "auditor")
        assert bundle.headers["cache-control"] == f"private, {caching}"
        assert (bundle.headers["content-encoding"], bundle.headers["vary"]) == ("gzip", "Accept-Encoding")
        entries += bundle.content
    plain = api.client.get(
        "/v1/log/tile/entries/000",
        headers={"Authorization": f"Bearer {api.tokens['auditor']}", "Accept-Encoding": "identity"},
    )
    assert "content-encoding" not in plain.headers
    assert entries.startswith(plain.content)
    leaves = unbundled(entries)
    assert len(leaves) == found.size
    assert b"".join(leaf_hash(leaf) for leaf in leaves) == hashes
    assert root([leaf_hash(leaf) for leaf in leaves]) == found.root
    assert [Leaf.parse(leaf).position for leaf in leaves] == list(range(1, found.size + 1))
    assert api.get("/v1/log/tile/1/000.p/1").content == root([hashes[at : at + 32] for at in range(0, 8192, 32)])


def test_a_tile_that_there_is_not_is_not_found(api: Api, key: VerifierKey) -> None:
    checkpoint(api, key)
    for path in ("001", "000.p/0", "000.p/256", "0", "x000/000", "000.p/200/", "zero"):
        api.problem(api.get("/v1/log/tile/0/" + path), 404, "not-found")
        api.problem(api.get("/v1/log/tile/entries/" + path, "auditor"), 404, "not-found")
    for path in ("64/000", "1/000", "x/000", "99/000", "00/000"):
        api.problem(api.get("/v1/log/tile/" + path), 404, "not-found")


def test_entries_are_for_auditors_unless_the_operator_opens_them(
    api: Api, key: VerifierKey, open_bank: Callable[..., Timebank], tmp_path: Path
) -> None:
    path = f"/v1/log/tile/entries/000.p/{checkpoint(api, key).size}"
    api.problem(api.get(path), 401, "unauthorized")
    api.problem(api.get(path, "S1"), 403, "role-not-allowed")
    assert api.get(path, "auditor").status_code == api.get(path, "admin").status_code == 200
    bank = open_bank()
    bank.settings = bank.settings.model_copy(update={"data": tmp_path / "open", "log_entries": "public"})
    with serving(bank) as opened:
        open_key = create_key(bank.settings.data, bank.name).verifier
        found = opened.get(f"/v1/log/tile/entries/000.p/{checkpoint(opened, open_key).size}")
        assert found.status_code == 200
        assert found.headers["cache-control"] == "public, max-age=60"


def test_a_member_has_the_receipts_of_hours_that_staff_logged_and_nobody_elses(api: Api, key: VerifierKey) -> None:
    giver, served, other = api.new_volunteer(), api.new_volunteer(), api.new_volunteer()
    logged = [
        api.wrote("/v1/hours", giver.hours(hour=hour, volunteer=giver.number, recipient_household=to), "S1")
        for hour, to in ((9, served.household), (11, None))
    ]
    confirmed = api.wrote(f"/v1/hours/{logged[0]['record']}/confirmation", None, "S2")
    rejected = api.wrote(f"/v1/hours/{logged[1]['record']}/rejection", {"reason": "not-served"}, "S2")
    elsewhere = api.wrote("/v1/hours", other.hours(volunteer=other.number), "S1")
    assert checkpoint(api, key).size == api.bank.store.head()
    shared, own = (logged[0], confirmed), (logged[1], rejected)
    for caller, allowed, barred in (
        (giver.number, (*shared, *own), (elsewhere,)),
        (served.number, shared, (*own, elsewhere)),
        (other.number, (elsewhere,), (*shared, *own)),
        ("S9", (), (*shared, *own, elsewhere)),
    ):
        for written in allowed:
            response = receipt_of(api, written["position"], caller)
            assert response.status_code == 200, (caller, written, response.text)
            receipt = Receipt.parse(response.text)
            leaf = receipt.proven(Checkpoint.parse(verified(receipt.checkpoint, [key])))
            assert (leaf.position, leaf.type) == (written["position"], written["facts"][-1])
        for written in barred:
            api.problem(receipt_of(api, written["position"], caller), 404, "not-found")


def test_without_a_key_nothing_is_signed_and_the_operator_is_told_how(api: Api) -> None:
    api.problem(api.get("/v1/log/checkpoint"), 422, "no-signing-key")
    api.problem(receipt_of(api, 1, "auditor"), 422, "no-signing-key")


def test_every_write_has_a_receipt_for_whom_it_concerns(api: Api, key: VerifierKey) -> None:
    earner, other = api.new_volunteer(), api.new_volunteer()
    logged = api.wrote("/v1/hours", earner.hours(), earner.number)
    confirmed = api.wrote(f"/v1/hours/{logged['record']}/confirmation", None, "S1")
    found = checkpoint(api, key)
    for written, allowed, barred in (
        (logged, (earner.number, "auditor", "admin"), (other.number, "S1")),
        (confirmed, (earner.number, "S1", "auditor", "admin"), (other.number,)),
    ):
        for caller in allowed:
            response = receipt_of(api, written["position"], caller)
            assert response.status_code == 200, (caller, response.text)
            assert response.headers["cache-control"] == "private, no-store"
            assert response.headers["content-disposition"].endswith(f'-{written["position"]}.tlog-proof"')
            receipt = Receipt.parse(response.text)
            leaf = receipt.proven(Checkpoint.parse(verified(receipt.checkpoint, [key])))
            assert (leaf.position, leaf.type) == (written["position"], written["facts"][-1])
            assert leaf.recorded_at_microseconds == written["recorded_at_microseconds"]
        for caller in barred:
            api.problem(receipt_of(api, written["position"], caller), 404, "not-found")
    api.problem(receipt_of(api, found.size + 1_000, "auditor"), 404, "not-found")
    api.problem(receipt_of(api, 0, "auditor"), 422, "invalid-request")


def test_the_command_line_writes_and_verifies_receipts_offline(sample_url: str, tmp_path: Path) -> None:
    settings = {"TIMEBANK_DATABASE_URL": sample_url, "TIMEBANK_DATA": str(tmp_path / "data")}
    assert "timebank keys init" in run("proof", 5, **settings).stderr
    key = answer("keys", "init", **settings)["key"]
    shown = run("proof", 5, **settings)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert answer("proof", 5, "--json", **settings)["receipt"] == shown.stdout
    assert "99999999" in run("proof", 99_999_999, **settings).stderr
    file = tmp_path / "5.tlog-proof"
    file.write_text(shown.stdout)
    offline = {"TIMEBANK_DATABASE_URL": "", "TIMEBANK_DATA": str(tmp_path / "data")}
    verified_ = answer("verify", file, **offline)
    assert (verified_["valid"], verified_["position"], verified_["ledger"]) == (True, 5, "qingxiu")
    assert verified_["fact"]["fact"]
    assert "有效 valid" in run("verify", file, **offline).stdout

    rotated = answer("keys", "rotate", **settings)["key"]
    assert rotated != key
    assert answer("verify", file, **offline) == verified_
    file_after = tmp_path / "after.tlog-proof"
    file_after.write_text(run("proof", 5, **settings).stdout)
    elsewhere = {"TIMEBANK_DATA": str(tmp_path / "elsewhere")}
    assert answer("verify", file_after, "--key", rotated, **elsewhere)["position"] == 5
    assert run("verify", file_after, "--key", key, **elsewhere).returncode == 1
    notes = tmp_path / "data" / "keys" / "qingxiu.successions"
    assert answer("verify", file_after, "--key", key, "--successions", notes, **elsewhere)["position"] == 5
    assert [str(one) for one in succeeding([VerifierKey.parse(key)], [notes.read_text()])] == [key, rotated]
    assert "timebank keys init" in run("verify", file, **elsewhere).stderr
    assert "--key" in run("verify", file, "--key", "nonsense", **elsewhere).stderr

    stranger = SigningKey("xingning", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    signed = stranger.sign(Receipt.parse(shown.stdout).checkpoint.partition("\n\n")[0] + "\n")
    for text in (shown.stdout.partition("\n\n")[0] + "\n\n" + signed, signed):
        file.write_text(text)
        refused = run("verify", file, "--key", stranger.verifier, **elsewhere)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "of the log “qingxiu”, and the key that signed it is of “xingning”" in refused.stderr

    lines = shown.stdout.split("\n")
    leaf = bytearray(base64.b64decode(lines[1].removeprefix("extra ")))
    leaf[-5] ^= 1
    damaged = [
        shown.stdout.replace("index 4", "index 5"),
        shown.stdout.replace(lines[1], "extra " + base64.b64encode(leaf).decode()),
        shown.stdout.replace(lines[3], lines[4], 1),
        shown.stdout.replace("\n\nqingxiu\n", "\n\nxingning\n"),
        shown.stdout[:-3],
        "",
    ]
    for text in damaged:
        file.write_text(text)
        refused = run("verify", file, **offline)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("timebank: ")
    file.write_bytes(b"\xff\xfe")
    assert run("verify", file, **offline).returncode == 1


def test_the_successions_are_public(api: Api, key: VerifierKey) -> None:
    assert api.get("/v1/log/successions").text == ""
    environment = {"TIMEBANK_DATA": str(api.bank.settings.data), "TIMEBANK_LEDGER": api.bank.name}
    rotated = answer("keys", "rotate", **environment)["key"]
    notes = api.get("/v1/log/successions").text
    assert [str(one) for one in succeeding([key], [notes])] == [str(key), rotated]
    # The service signs with it at once, and the last checkpoint of the old one is signed anew.
    assert checkpoint(api, VerifierKey.parse(rotated)).size == api.bank.store.head()
