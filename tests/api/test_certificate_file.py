"""A certificate as a file and as a QR code: whoever has it verifies it offline, and whatever was changed shows."""

import base64
import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.certificate_file import drawn
from api.wiring import Timebank
from domain.certificate import CertificateTooLongForQr
from domain.certificate_file import (
    FORMAT,
    PACKED_MARK,
    CertificateFile,
    NoCertificateFile,
    base45,
)
from domain.checkpoint import Checkpoint, Receipt
from domain.decision import Actor
from domain.hours import ReverseHours, reverse
from domain.leaf import Leaf
from domain.merkle import leaf_hash
from domain.statement import VerifierKey
from infrastructure.certificate_file import proven
from infrastructure.signing import CosigningKey, NoteNotGenuine, SigningKey, create_key, read_key
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
    found = Held(api, "助餐", "助洁")
    assert f"— {key.name} " in found.text
    return found


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


def decoded(content: bytes) -> str:
    """What a reader of QR codes reads off the picture."""
    (found,) = zxingcpp.read_barcodes(pixels(content), formats=zxingcpp.BarcodeFormat.QRCode)
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
    read = decoded(response.content)
    assert CertificateFile.parse(read).receipt.leaf == held.file.receipt.leaf
    assert checked(tmp_path, read + "\n", "--key", key)["status"] == "valid"
    svg = api.get(f"/v1/certificates/{held.number}/qr", held.person.number)
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.text.startswith("<?xml")
    picture = tmp_path / "code.png"
    assert run("certificate", "qr", held.number, picture, **operator(api)).returncode == 0
    assert checked(tmp_path, decoded(picture.read_bytes()), "--key", key)["status"] == "valid"
    assert ".svg" in run("certificate", "qr", held.number, tmp_path / "code.gif", **operator(api)).stderr


def test_cosignatures_are_left_out_of_a_code_that_they_make_too_long_and_a_longer_one_is_refused(
    key: VerifierKey, held: Held
) -> None:
    receipt = held.file.receipt
    path = tuple(hashed(at) for at in range(20))  # of a million facts
    cosigned = held.file._replace(receipt=receipt._replace(path=path, checkpoint=receipt.checkpoint + noise(16)))
    read = CertificateFile.parse(decoded(drawn(cosigned, [key], "png")))
    assert read.receipt.checkpoint == held.file.receipt.checkpoint
    long = held.file._replace(receipt=held.file.receipt._replace(path=tuple(hashed(at) for at in range(80))))
    with pytest.raises(CertificateTooLongForQr):
        drawn(long, [key], "svg")


def noise(count: int) -> str:
    """Lines of as many witnesses, none like the other."""
    signed = [b"".join(hashed(3 * at + part) for part in range(3))[:76] for at in range(count)]
    return "".join(f"— audit.example/a{at} {base64.b64encode(one).decode()}\n" for at, one in enumerate(signed))


def hashed(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


# ── Altered ──────────────────────────────────────────────────────────────────────────────────────────────────


def resigned(api: Api, held: Held, by: SigningKey | None = None, **changes: Any) -> str:
    """The file with other contents, signed anew, as whoever stole the key and nothing else would."""
    content = held.file.content.model_copy(update=changes)
    return held.file._replace(note=(by or own(api)).sign(content.text())).text()


def forged(api: Api, held: Held, change: Callable[[dict[str, Any]], object], by: SigningKey | None = None) -> str:
    """The file with another fact in it, in a tree of its own that the key has signed."""
    leaf = Leaf.parse(held.file.receipt.leaf)
    data = json.loads(leaf.data)
    change(data["fact"])
    other = leaf._replace(data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(), position=1)
    checkpoint = (by or own(api)).sign(Checkpoint(leaf.ledger, 1, leaf_hash(other.encoded())).text())
    return held.file._replace(receipt=Receipt(1, (), checkpoint, other.encoded())).text()


def require_refused(api: Api, key: VerifierKey, text: str) -> None:
    """Neither whoever has the key takes it for genuine, nor the page."""
    with pytest.raises((NoCertificateFile, NoteNotGenuine)):
        proven(CertificateFile.parse(text), [key])
    assert "不成立 Altered" in told(api, file=text)


def test_whatever_is_altered_by_somebody_without_the_key_is_refused(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    other = Held(api)
    stranger = create_key(tmp_path / "stranger", api.bank.name)
    receipt = held.file.receipt
    leaf = bytearray(receipt.leaf)
    leaf[-5] ^= 1
    altered = {
        "a minute": held.text.replace('"service_minutes":120', '"service_minutes":180'),
        "a minute of one service": held.text.replace('"minutes":60', '"minutes":61', 1),
        "the name": held.text.replace("示例<b>志愿者", "别人"),
        "the contact": held.text.replace(CONTACT, "0771-5550001"),
        "the number": held.text.replace(held.number, other.number),
        "the code": held.text.replace(held.code, other.code),
        "synthetic data that pass for real": held.text.replace('"synthetic":true', '"synthetic":false'),
        "the fact": held.file._replace(receipt=receipt._replace(leaf=bytes(leaf))).text(),
        "another certificate's receipt": held.file._replace(receipt=other.file.receipt).text(),
        "another certificate's note": held.file._replace(note=other.file.note).text(),
        "a truncated proof": held.file._replace(receipt=receipt._replace(path=receipt.path[:-1])).text(),
        "a proof too long": held.file._replace(receipt=receipt._replace(path=(*receipt.path, bytes(32)))).text(),
        "another position": held.file._replace(receipt=receipt._replace(position=receipt.position - 1)).text(),
        "another receipt, of no certificate": held.file._replace(
            receipt=Receipt.parse(api.get("/v1/facts/1/proof", "auditor").text)
        ).text(),
        "a size of the checkpoint": held.text.replace(f"\n\n{api.bank.name}\n", f"\n\n{api.bank.name}\n9", 1),
        "another ledger's key": resigned(api, held, stranger, service_minutes=999),
        "another ledger's key, all of it": forged(api, held, lambda _: None, stranger),
        "no signature": held.text.replace(held.file.note, held.file.note.partition("\n\n")[0] + "\n\n"),
        "an end that is missing": held.text[:-10],
        "an end that was added": held.text + "\n",
        "line ends": held.text.replace("\n", "\r\n"),
    }
    for what, text in altered.items():
        assert text != held.text, what
        require_refused(api, key, text)
    for what in ("a minute", "the name", "the number", "a truncated proof", "another ledger's key, all of it"):
        refused(tmp_path, altered[what], "--key", key)
    shown = checked(tmp_path, held.text, "--key", key)
    assert shown["valid"]
    assert "示例&lt;b&gt;志愿者" in told(api, file=held.text)


def test_what_the_key_signs_and_no_fact_says_is_refused(api: Api, key: VerifierKey, held: Held, tmp_path: Path) -> None:
    other = Held(api)
    altered = {
        "a minute": resigned(api, held, service_minutes=180, standing_minutes=180),
        "more than was served still stand": resigned(api, held, standing_minutes=180),
        "a volunteer": resigned(api, held, volunteer=other.person.number),
        "a number": resigned(api, held, certificate=other.number),
        "a day": resigned(api, held, since=today(api)),
        "a service": resigned(api, held, services=held.file.content.services[:1]),
        "a code": resigned(api, held, code=other.code),
        "another ledger": resigned(api, held, ledger="xingning"),
    }
    for what, text in altered.items():
        assert text != held.text, what
        require_refused(api, key, text)
    refused(tmp_path, altered["a minute"], "--key", key)


def test_a_checkpoint_that_was_forged_with_the_stolen_key_is_found_by_witness_and_page(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    forgery = forged(api, held, lambda _: None)
    witness = CosigningKey("audit.example/a001", Ed25519PrivateKey.generate())
    assert checked(tmp_path, forgery, "--key", key)["valid"]
    refused(tmp_path, forgery, "--key", key, "--witness", witness.verifier)
    assert "不成立 Altered" in told(api, file=forgery)


def test_a_ledger_vouches_for_no_certificate_of_another(api: Api, key: VerifierKey, held: Held, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other", "xingning")
    for text in (resigned(api, held, other), forged(api, held, lambda _: None, other)):
        refused(tmp_path, text, "--key", key, "--key", other.verifier)


# ── Revoked, and records reversed ────────────────────────────────────────────────────────────────────────────


def test_a_file_is_as_of_its_time_and_a_later_revocation_is_told_by_receipt_or_online(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    online = ("--key", key, "--online", api.client.base_url)
    assert checked(tmp_path, held.text, *online)["asked"]
    assert "刚向账本核实" in run("verify", tmp_path / "certificate", *online).stdout
    path = f"/v1/certificates/{held.number}/revocation"
    position = api.wrote(path, {"reason": "mistake"}, "S1")["position"]
    sealed(api)
    api.read("/v1/figures")  # what is told online is as far as the tables are
    api.problem(file_of(api, held.number, "S1"), 409, "certificate-already-revoked")
    assert checked(tmp_path, held.text, "--key", key)["status"] == "valid"
    revoked = checked(tmp_path, held.text, *online, status=3)
    assert (revoked["valid"], revoked["status"], revoked["revoked_on"]) == (False, "revoked", today(api).isoformat())
    receipt = tmp_path / "revocation"
    receipt.write_text(api.get(f"/v1/facts/{position}/proof", "S1").text)
    shown = checked(tmp_path, held.text, "--key", key, "--revocation", receipt, status=3)
    assert (shown["status"], shown["revoked_at_position"]) == ("revoked", position)
    page = told(api, file=held.text)
    assert "已撤销 Revoked" in page
    assert held.person.number not in page
    assert CONTACT not in page
    other = Held(api)
    refused(tmp_path, other.text, "--key", key, "--revocation", receipt)
    receipt.write_text(held.file.receipt.text())
    refused(tmp_path, held.text, "--key", key, "--revocation", receipt)


def test_records_that_were_reversed_are_told_online_and_by_the_next_file(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    api.record((reverse, ReverseHours(record=held.records[0], reason="duplicate")), actor=Actor("D2", "admin"))
    api.read("/v1/figures")  # what is told online is as far as the tables are
    assert checked(tmp_path, held.text, "--key", key)["valid"]
    online = checked(tmp_path, held.text, "--key", key, "--online", api.client.base_url, status=3)
    assert (online["status"], online["standing_minutes"]) == ("records-reversed", 60)
    after = checked(tmp_path, file_of(api, held.number, "S1").text, "--key", key, status=3)
    assert (after["status"], after["certificate"]["standing_minutes"]) == ("records-reversed", 60)
    assert "不再完全有效" in told(api, file=held.text)


def test_a_ledger_that_gives_no_answer_or_knows_nothing_is_no_verdict_on_the_file(
    api: Api, key: VerifierKey, held: Held, tmp_path: Path
) -> None:
    assert checked(tmp_path, held.text, "--key", key, "--online", "http://127.0.0.1:1", status=4)["valid"]
    assert "http" in run("verify", tmp_path / "certificate", "--key", key, "--online", "ftp://x").stderr
    with psycopg.connect(api.bank.owner_address) as connection:
        # As where another certificate took the number.
        connection.execute(
            f"UPDATE projection_{api.bank.name}.certificates SET code_sha256 = repeat('0', 64), issued_position = 1"
        )
    assert "doesn't know" in refused(tmp_path, held.text, "--key", key, "--online", api.client.base_url)
    assert "不成立 Altered" in told(api, file=held.text)


def test_a_receipt_takes_no_word_of_revocation(api: Api, key: VerifierKey, held: Held, tmp_path: Path) -> None:
    text = held.file.receipt.text()
    assert "--online" in refused(tmp_path, text, "--key", key, "--online", api.client.base_url)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────


def told(api: Api, file: str | bytes | None = None, **fields: str) -> str:
    """What the page says to whoever hands this in."""
    files = None if file is None else {"file": ("x", file)}
    response = api.client.post("/verify", data=fields, files=files)
    assert response.status_code == 200, response.text
    return response.text


def test_the_page_needs_no_script_fetches_nothing_and_is_not_kept(api: Api) -> None:
    response = api.client.get("/verify", params={"certificate": '"><script>alert(1)</script>'})
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style = response.text.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    for directive in ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert directive in policy
    assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert not re.search(r"<script|\bsrc=|<link|\son\w+=|https?:", response.text)
    assert 'content="width=device-width' in response.text
    assert response.text.count("<form") == response.text.count('method="post"') == 3


def test_number_and_code_are_told_what_the_route_tells_and_no_name(api: Api, held: Held) -> None:
    page = told(api, certificate=held.number.lower(), code=held.code.lower())
    assert "有效 Valid" in page
    assert "助餐" in page
    assert "志愿者</" not in page.partition("<section")[2].partition("</section>")[0].replace("志愿者 Volunteer", "")
    assert CONTACT not in page
    for number, code in ((held.number, "0" * 16), ("2026-999999", held.code), ("\0", "x"), ("x" * 500, "y" * 500)):
        assert "查无此证明" in told(api, certificate=number, code=code)


def test_a_file_or_the_text_of_a_code_is_told_what_it_says(api: Api, held: Held) -> None:
    for page in (told(api, file=held.text), told(api, text=held.file.packed()), told(api, text=held.text)):
        for text in ("有效 Valid", "示例&lt;b&gt;志愿者", CONTACT, "示例负责人"):
            assert text in page
        assert "示例<b>" not in page


def test_hostile_uploads_get_an_answer_and_nothing_else(api: Api, held: Held) -> None:
    bomb = PACKED_MARK + "".join(base45(zlib.compress(bytes(50_000_000), 9)))
    nested = held.file._replace(note=own(api).sign("timebank-certificate/v1\n" + "[" * 100_000 + "\n")).text()
    files: list[str | bytes] = [b"\xff\xfe\x00", b"\0" * 1000, held.text.encode("utf-16"), bomb, nested, PACKED_MARK]
    for file in [*files, PACKED_MARK + "ZZZ", PACKED_MARK + "a", FORMAT, FORMAT + "\n\n\n\n", held.text.encode("gbk")]:
        assert "不成立 Altered" in told(api, file=file)
    huge = api.client.post("/verify", files={"file": ("x", b"x" * 300_000)})
    assert (huge.status_code, "不成立" in huge.text) == (413, True)
    assert api.client.post("/verify", files={"file": ("x", b"x" * 3_000_000)}).status_code == 413
    for body, kind in (
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
        (b"\xff=%ff&certificate=%00", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ):
        response = api.client.post("/verify", content=body, headers={"Content-Type": kind})
        assert response.status_code in (200, 400)
        assert "text/html" in response.headers["content-type"]
    many = [("file", ("x", held.text)), ("file", ("y", held.text))]
    assert api.client.post("/verify", files=many).status_code == 400


def test_a_certificate_of_another_ledger_with_the_same_number_is_not_ours(api: Api, held: Held, tmp_path: Path) -> None:
    other = create_key(tmp_path / "other", "xingning")
    foreign = resigned(api, held, other, ledger="xingning")
    assert "不成立 Altered" in told(api, file=foreign)
