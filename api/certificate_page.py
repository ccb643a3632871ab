"""The public page on which anybody checks a certificate: by number and code, by its file, or by its QR code's text.

It works without scripts and fetches nothing. What is handed in is sent in a body, so that no code is left in an
address, and is forgotten with the answer.
"""

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from api.certificate import standing, verified
from api.certificate_file import own_keys
from api.identity import Anyone
from api.terminal import hours_of
from api.wiring import Service, Timebank
from domain.certificate_file import CertificateFile, NoCertificateFile
from domain.identifiers import normal_id
from domain.ledger import SYNTHETIC_NOTICE
from infrastructure.certificate_file import Proven, proven
from infrastructure.signing import NoteNotGenuine
from projections import certificate
from projections.certificate import CertificateListed

router = APIRouter(include_in_schema=False)

BODY_BYTES_MAX: Final = 256_000
"""A certificate's file, and what a form puts around it."""
TEXT_CHARACTERS_MAX: Final = 100
ALTERED: Final = {
    "status": "altered",
    "meaning": "不成立：内容被改动过，或不是本账本出具的证明文件。 / "
    "It doesn't hold: it was altered, or it is no certificate file of this ledger.",
}
HEADINGS: Final = {
    "valid": "有效 Valid",
    "records-reversed": "不再完全有效 No longer valid in full",
    "revoked": "已撤销 Revoked",
    "unknown": "查无此证明 Unknown",
    "altered": "不成立 Altered, or not ours",
}
LABELS: Final = {
    "certificate": "编号 Number",
    "volunteer": "志愿者 Volunteer",
    "volunteer_name": "姓名 Name",
    "since": "起 From",
    "until": "止 Until",
    "service_minutes": "服务时长 Service",
    "service_records": "服务记录 Records",
    "reversed_minutes": "出具后冲正 Reversed since",
    "standing_minutes": "仍成立 Still stand",
    "issuer": "出具单位 Issued by",
    "in_charge": "负责人 In charge",
    "in_charge_name": "负责人姓名 In charge, name",
    "issued_by": "经办人 Handler",
    "handler_name": "经办人姓名 Handler, name",
    "contact": "联系方式 Contact",
    "issued_on": "出具日期 Issued on",
    "revoked_on": "撤销日期 Revoked on",
}
PRINTED: Final = ("volunteer_name", "in_charge", "in_charge_name", "issued_by", "handler_name", "contact")
"""What a file says beside what number and code are answered with."""
STYLE: Final = (
    "*{box-sizing:border-box}"
    "body{max-width:40rem;margin:0 auto;padding:1rem;font:1rem/1.6 system-ui,sans-serif;color:#1a1a1a;"
    "background:#fff;overflow-wrap:anywhere}"
    "h1{font-size:1.4rem}h1 span{display:block;font-size:1.1rem;font-weight:normal}"
    "h2{font-size:1.1rem}h3{font-size:1rem}"
    "label{display:block;margin-top:.75rem}"
    "input,textarea,button{width:100%;font:inherit;padding:.5rem;border:1px solid #767676;border-radius:.25rem}"
    "button{margin-top:.75rem;background:#0b4f8a;color:#fff;border-color:#0b4f8a}"
    "form{border-top:1px solid #ccc;margin-top:1rem}"
    "dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.25rem .75rem}dd{margin:0}"
    # Names as long as they are, and how much beside them on one line, on a telephone as well.
    ".services{grid-template-columns:1fr auto}.services dd{text-align:right;white-space:nowrap}"
    ".verdict{border-left:.5rem solid #a11;padding:.25rem 0 .25rem .75rem}.valid{border-color:#0a6b2d}"
    ".records-reversed{border-color:#a60}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/verify", response_class=HTMLResponse)
async def read_certificate_page(
    request: Request, _: Anyone, number: Annotated[str, Query(alias="certificate", max_length=TEXT_CHARACTERS_MAX)] = ""
) -> HTMLResponse:
    """The forms; a link on the paper may name the number, never the code. Public."""
    return _page(request, number=number)


@router.post("/verify", response_class=HTMLResponse)
async def check_certificate(request: Request, _: Anyone) -> HTMLResponse:
    """What whoever handed in number and code, a file or a QR code's text is told. Public; nothing is recorded."""
    if int(request.headers.get("content-length", "0")) > BODY_BYTES_MAX:
        return _page(request, ALTERED, status=413)
    try:
        async with request.form(max_files=1, max_fields=4, max_part_size=BODY_BYTES_MAX) as form:
            number, code, text = [_field(form, name) for name in ("certificate", "code", "text")]
            given = await _uploaded(form) or text.replace("\r\n", "\n").encode()
    except HTTPException:
        return _page(request, ALTERED, status=400)
    service: Service = request.app.state.service
    await service.fresh(await asyncio.to_thread(service.bank.store.head))
    if given:
        return _page(request, await _checked(service, given))
    row = None
    if 0 < len(number) <= TEXT_CHARACTERS_MAX and len(code) <= TEXT_CHARACTERS_MAX and "\0" not in number:
        row = await _row(service, normal_id(number))
    return _page(request, verified(service.bank, row, code), number=number[:TEXT_CHARACTERS_MAX])


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


async def _uploaded(form: FormData) -> bytes:
    file = form.get("file")
    return await file.read() if isinstance(file, UploadFile) else b""


async def _row(service: Service, number: str) -> CertificateListed | None:
    async with service.pool.connection() as connection:
        return await certificate.certificate(connection, number)


async def _checked(service: Service, given: bytes) -> Mapping[str, object]:
    """Where the certificate of a file stands now."""
    try:
        found = await asyncio.to_thread(_genuine, service.bank, given)
    except (NoCertificateFile, NoteNotGenuine, UnicodeDecodeError):
        return ALTERED
    row = await _row(service, found.content.certificate)
    if row is None or row.issued_position != found.leaf.position:
        # Proven once, and not in this journal: either that one or this was made by whoever stole the key.
        return ALTERED
    answered = standing(service.bank, row)
    if row.revoked:
        return answered
    said = found.content.model_dump(mode="json")
    return answered | {name: said[name] for name in PRINTED}


def _genuine(bank: Timebank, given: bytes) -> Proven:
    """Raises: NoCertificateFile, NoteNotGenuine, UnicodeDecodeError, SigningKeyUnusable."""
    return proven(CertificateFile.parse(given.decode()), own_keys(bank))


def _page(
    request: Request, answered: Mapping[str, object] | None = None, *, number: str = "", status: int = 200
) -> HTMLResponse:
    bank: Timebank = request.app.state.service.bank
    notice = f"<p><strong>{escape(SYNTHETIC_NOTICE)}</strong></p>" if bank.opened.synthetic else ""
    content = f"""<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>核验志愿服务证明 Check a service certificate</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>核验志愿服务证明 <span lang="en">Check a service certificate</span></h1>
<p>{escape(bank.opened.name)} · {escape(bank.name)}</p>
{notice}{"" if answered is None else _verdict(answered)}
<form method="post" action="/verify">
<h2>编号和验证码 <span lang="en">Number and code</span></h2>
<label for="certificate">证明编号 <span lang="en">Its number</span></label>
<input id="certificate" name="certificate" value="{escape(number)}" maxlength="64" required autocomplete="off">
<label for="code">验证码 <span lang="en">Its code</span></label>
<input id="code" name="code" maxlength="40" required autocomplete="off">
<button>核验 Check</button>
</form>
<form method="post" action="/verify" enctype="multipart/form-data">
<h2>证明文件 <span lang="en">Its file</span></h2>
<label for="file">选择文件 <span lang="en">Choose the file</span></label>
<input id="file" name="file" type="file" required>
<button>核验 Check</button>
</form>
<form method="post" action="/verify" enctype="multipart/form-data">
<h2>二维码 <span lang="en">Its QR code</span></h2>
<label for="text">扫码得到的文字，以 TIMEBANK1: 开头
<span lang="en">What was read from it, from TIMEBANK1: on</span></label>
<textarea id="text" name="text" rows="4" required></textarea>
<button>核验 Check</button>
</form>
<p>本页只告诉您证明上已有的内容，不记录您提交的任何东西。
<span lang="en">This page tells what is on the certificate and no more, and keeps nothing that you hand in.</span></p>
</main>
</body>
</html>
"""
    return HTMLResponse(content, status, headers=HEADERS)


def _verdict(answered: Mapping[str, Any]) -> str:
    status = answered["status"]
    rows = [
        (label, hours_of(answered[name]) + " 小时 h" if name.endswith("_minutes") else answered[name])
        for name, label in LABELS.items()
        if answered.get(name) is not None and (name != "standing_minutes" or "reversed_minutes" in answered)
    ]
    services = [
        (one["service"], f"{hours_of(one['minutes'])} 小时 h · {one['records']} 条 records")
        for one in answered.get("services") or ()
    ]
    meaning = escape(answered["meaning"])
    return (
        f'<section class="verdict {status}" role="status">\n<h2>{HEADINGS[status]}</h2>\n<p>{meaning}</p>\n'
        f"{f'<dl>{_listed(rows)}</dl>' if rows else ''}"
        f"{f'<h3>各项服务 Services</h3><dl class=services>{_listed(services)}</dl>' if services else ''}</section>"
    )


def _listed(rows: Iterable[tuple[str, object]]) -> str:
    return "".join(f"<dt>{escape(label)}</dt><dd>{escape(str(value))}</dd>\n" for label, value in rows)
