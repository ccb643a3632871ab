"""A certificate as a file and as a QR code: whoever has it verifies it offline, and whatever was changed shows."""

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import zxingcpp

from api.certificate_file import drawn
from api.wiring import Timebank
from domain.certificate_file import CertificateContent, CertificateFile, CertificateTooLongForQr, NoCertificateFile
from domain.checkpoint import Checkpoint, Receipt
from domain.hours import ReverseHours, reverse
from domain.leaf import Leaf
from domain.merkle import leaf_hash
from domain.statement import VerifierKey
from infrastructure.certificate_file import proven
from infrastructure.signing import NoteNotGenuine, SigningKey, create_key, read_key
from infrastructure.vault import forget, remember
from tests.api.processes import answer, run
from tests.api.service import Api, register_places, serving
from tests.api.test_certificate import CONTACT, issued, serve, today
from tests.api.test_witness import operator, sealed


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


class Held:
    """A certificate that somebody was given, as a file."""

    def __init__(self, api: Api, *services: str) -> None:
        self.person = api.new_volunteer()
        with psycopg.connect(api.bank.address) as connection:
            remember(connection, api.bank.name, names={self.person.number: "示例<b>志愿者"})
        self.records = [serve(api, self.person, 6 + at, service=name) for at, name in enumerate(services or ("助餐",))]
        self.printed = issued(api, self.person)
        self.number, self.code = self.printed["certificate"], self.printed["code"]
        sealed(api)
        self.text = file_of(api, self.number, "S1").text
        self.file = CertificateFile.parse(self.text)


@pytest.fixture
def held(api: Api, key: VerifierKey) -> Held:
    return Held(api, "助餐", "助洁")


def file_of(api: Api, number: str, by: str | None, **asked: Any) -> httpx.Response:
    return api.get(f"/v1/certificates/{number}/file", by, min_position=api.bank.store.head(), **asked)


def own(api: Api) -> SigningKey:
    found = read_key(api.bank.settings.data, api.bank.name)
    assert found is not None
    return found


def checked(tmp_path: Path, text: str, *options: object, status: int = 0) -> Any:
    """What `timebank verify` says on a machine that has nothing but the file."""
    file = tmp_path / "certificate"
    file.write_text(text)
    return answer("verify", file, *options, status=status, TIMEBANK_DATA=str(tmp_path / "elsewhere"))


def refused(tmp_path: Path, text: str, *options: object) -> str:
    file = tmp_path / "certificate"
    file.write_text(text)
    done = run("verify", file, *options, TIMEBANK_DATA=str(tmp_path / "elsewhere"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("timebank: ")
    return done.stderr


# ── Written ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_says_what_the_paper_says_and_is_verified_by_whoever_has_the_key(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    response = file_of(api, held.number, held.person.number)
    assert response.headers["cache-control"] == "private, no-store"
    assert (
        response.headers["content-disposition"] == f'attachment; filename="{api.bank.name}-{held.number}.certificate"'
    )
    found = proven(held.file, [key])
    said = found.content.model_dump(mode="json")
    beside = {"ledger", "position", "signed_at", "synthetic"}
    assert {name: held.printed[name] for name in said.keys() - beside} == {
        name: value for name, value in said.items() if name not in beside
    }
    assert said["contact"] == CONTACT
    assert found.content.position >= found.leaf.position == held.printed["issued_position"]
    shown = checked(tmp_path, held.text, "--key", key)
    assert (shown["valid"], shown["status"], shown["certificate"]) == (True, "valid", said)
    lines = run("verify", tmp_path / "certificate", "--key", key, TIMEBANK_DATA=str(tmp_path / "elsewhere")).stdout
    for text in ("有效 valid", held.number, "助餐", CONTACT, "示例负责人", "--online", "合成数据"):
        assert text in lines, text


def test_only_whoever_may_read_all_of_a_certificate_has_its_file(api: Api, held: Held) -> None:
    other = api.new_volunteer()
    for path in ("file", "qr"):
        for caller in (other.number, "S9"):
            response = api.get(f"/v1/certificates/{held.number}/{path}", caller)
            api.problem(response, 404, "unknown-certificate")
        api.problem(api.get(f"/v1/certificates/{held.number}/{path}", "auditor"), 403, "role-not-allowed")
        api.problem(api.get(f"/v1/certificates/{held.number}/{path}"), 401, "unauthorized")
        for caller in (held.person.number, "S0", "admin"):
            assert api.get(f"/v1/certificates/{held.number}/{path}", caller).status_code == 200
    api.problem(file_of(api, "2026-999999", "admin"), 404, "unknown-certificate")


def test_without_a_key_there_is_no_file(api: Api) -> None:
    anna = api.new_volunteer()
    serve(api, anna)
    api.problem(file_of(api, issued(api, anna)["certificate"], "S1"), 422, "no-signing-key")


def test_a_file_holds_what_the_vault_still_has(api: Api, key: VerifierKey, held: Held, tmp_path: Path) -> None:
    with psycopg.connect(api.bank.address) as connection:
        forget(connection, api.bank.name, ["certificate:" + held.printed["code_sha256"]])
    found = proven(CertificateFile.parse(file_of(api, held.number, "S1").text), [key]).content
    assert (found.contact, found.code, found.in_charge_name) == (None, None, None)
    text = file_of(api, held.number, "S1").text
    assert "验证码" in refused(tmp_path, text, "--key", key, "--online", api.client.base_url)


# ── QR codes ─────────────────────────────────────────────────────────────────────────────────────────────────


def decoded(api: Api, content: bytes) -> str:
    """What a reader of QR codes reads off the picture."""
    (found,) = zxingcpp.read_barcodes(pixels(content))
    return str(found.text)


def pixels(png: bytes) -> Any:
    """A picture's grey values, of one bit a pixel in the file."""
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        chunk = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", chunk)
            assert (depth, colour) == (1, 0)
        data += chunk if kind == b"IDAT" else b""
        at += 12 + length
    raw, stride = zlib.decompress(data), (width + 7) // 8
    grey, above = b"", bytes(stride)
    for start in range(0, len(raw), stride + 1):
        filtered, row = raw[start], raw[start + 1 : start + 1 + stride]
        assert filtered in (0, 2)
        above = bytes((one + (up if filtered else 0)) & 255 for one, up in zip(row, above, strict=True))
        grey += bytes(255 * (above[x // 8] >> (7 - x % 8) & 1) for x in range(width))
    return memoryview(grey).cast("B", (height, width))


def test_a_qr_code_is_read_back_and_verified_offline(api: Api, key: VerifierKey, held: Held, tmp_path: Path) -> None:
    response = api.get(f"/v1/certificates/{held.number}/qr", held.person.number, format="png")
    assert response.headers["content-type"] == "image/png"
    read = decoded(api, response.content)
    assert CertificateFile.parse(read).receipt.leaf == held.file.receipt.leaf
    assert checked(tmp_path, read + "\n", "--key", key)["status"] == "valid"
    svg = api.get(f"/v1/certificates/{held.number}/qr", held.person.number)
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.text.startswith("<?xml")
    picture = tmp_path / "code.png"
    assert run("certificate", "qr", held.number, picture, **operator(api)).returncode == 0
    assert checked(tmp_path, decoded(api, picture.read_bytes()), "--key", key)["status"] == "valid"
    assert ".svg" in run("certificate", "qr", held.number, tmp_path / "code.gif", **operator(api)).stderr
