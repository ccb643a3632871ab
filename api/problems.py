"""Problem documents (RFC 9457): every error as JSON that a program can read and a person can act on."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.decision import RowsRefused
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Refusal, Unknown

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
ERRORS_MAX: Final = 1_000
"""Errors told of one request: an answer must not be many times larger than what was sent."""

_STATUS: Final[dict[type[Refusal], int]] = {Unknown: 404, NotAllowed: 403, AlreadyDone: 409, AgainstRule: 422}


class Kind(NamedTuple):
    """One kind of error of the API itself; its texts may name the problem's own members."""

    status: int
    zh: str
    en: str


KINDS: Final[dict[str, Kind]] = {
    "bad-request": Kind(400, "请求无法解读。", "The request can't be read."),
    "unauthorized": Kind(
        401,
        "令牌缺失、无效或已停用；请在 Authorization 头中提供令牌：Bearer …",
        "The token is missing, not valid, or revoked; send yours: Authorization: Bearer …",
    ),
    "role-not-allowed": Kind(403, "“{role}”角色不能进行此操作。", "The role “{role}” may not do this."),
    "cosignature-refused": Kind(
        403,
        "副签不被接受：不是本账本信任的见证人对这个检查点的签名。",
        "The cosignature is not taken: no witness that is trusted here has signed this checkpoint so.",
    ),
    "own-records-only": Kind(403, "志愿者只能查询自己的记录。", "A volunteer reads their own records only."),
    "not-found": Kind(404, "没有这个地址。", "There is nothing at this address."),
    "method-not-allowed": Kind(405, "这个地址不支持该方法。", "This address does not take that method."),
    "length-required": Kind(
        411, "请求须注明内容长度（Content-Length）。", "A request with a body must declare its Content-Length."
    ),
    "body-too-large": Kind(
        413,
        "请求内容太大，请分批提交，或用 timebank import 导入。",
        "The body is too large; send it in several batches, or use `timebank import`.",
    ),
    "invalid-request": Kind(
        422,
        "请求内容不正确，请按各字段的说明修改。",
        "The request is not valid; see each field.",
    ),
    "internal-error": Kind(
        500,
        "服务器内部出错，已记入日志；用同一个 Idempotency-Key 重试是安全的。",
        "The server failed and has logged it; trying again with the same Idempotency-Key is safe.",
    ),
    "database-unavailable": Kind(
        503,
        "数据库暂时无法查询，请稍后再试；写入请用同一个 Idempotency-Key 重试。",
        "The database can't be asked for the moment; try again shortly, a write with the same Idempotency-Key.",
    ),
    "figures-busy": Kind(
        503, "同时统计的问题太多，请稍后再查。", "Too many figures are being counted at once; ask again shortly."
    ),
    "ledger-unavailable": Kind(
        503,
        "账本暂时无法写入，请稍后用同一个 Idempotency-Key 重试。",
        "The ledger can't be written to for the moment; try again later with the same Idempotency-Key.",
    ),
    "not-yet-sealed": Kind(
        503,
        "这条事实还没有列入签名的证据日志，请几秒后再取。",
        "The signed evidence log doesn't hold this yet; ask again in a few seconds.",
    ),
    "not-yet-projected": Kind(
        503,
        "还没有汇总到位置 {min_position}（现在是 {position}），请稍后再查。",
        "The figures don't hold position {min_position} yet (now {position}); ask again shortly.",
    ),
}
"""Every error that no rule refuses with. What a rule refuses with is in `all_refusals`."""

_FRAMEWORK: Final = {KINDS[code].status: code for code in ("bad-request", "not-found", "method-not-allowed")}


class Problem(Exception):
    """An error of the API itself, of one of `KINDS`."""

    def __init__(self, code: str, *, headers: dict[str, str] | None = None, **members: object) -> None:
        kind = KINDS[code]
        self.status, self.code, self.headers, self.members = kind.status, code, headers, members
        self.zh, self.en = kind.zh.format(**members), kind.en.format(**members)
        super().__init__(f"{self.zh} / {self.en}")

    def document(self, instance: str) -> dict[str, object]:
        return _document(self.status, self.code, self.zh, self.en, instance, self.members)

    def response(self, instance: str) -> Response:
        return problem_response(self.document(instance), self.status, self.headers)


def refusal_status(refusal: type[Refusal]) -> int:
    """The HTTP status that a rule's refusal is told with."""
    return next(status for kind, status in _STATUS.items() if issubclass(refusal, kind))


def refusal_document(refusal: Refusal, instance: str) -> dict[str, object]:
    members = dict(refusal.facts)
    if isinstance(refusal, RowsRefused):
        members["errors"] = [
            {"row": row, "code": one.code, "message_zh": one.message_zh, "message_en": one.message_en, **one.facts}
            for row, one in refusal.rows
        ]
    return _document(
        refusal_status(type(refusal)), refusal.code, refusal.message_zh, refusal.message_en, instance, members
    )


def problem_response(document: dict[str, object], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, MEDIA_TYPE)


def _document(status: int, code: str, zh: str, en: str, instance: str, members: dict[str, object]) -> dict[str, object]:
    document: dict[str, object] = {
        "type": f"/v1/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": f"{zh} / {en}",
        "detail_zh": zh,
        "detail_en": en,
        "instance": instance,
    }
    # A record's status must not pass for the answer's.
    return document | {f"current_{name}" if name in document else name: value for name, value in members.items()}


_VALIDATION_ZH: Final = {
    "missing": "缺少必填项",
    "extra_forbidden": "不认识的字段",
    "json_invalid": "不是有效的 JSON",
    "datetime_parsing": "不是有效的时间，应如 2026-10-31T09:00:00+08:00",
    "datetime_from_date_parsing": "不是有效的时间，应如 2026-10-31T09:00:00+08:00",
    "timezone_aware": "时间须带时区，如 +08:00",
    "date_from_datetime_parsing": "不是有效的日期，应如 2026-10-31",
    "date_parsing": "不是有效的日期，应如 2026-10-31",
    "int_parsing": "须为整数",
    "int_type": "须为整数",
    "string_type": "须为文本",
    "too_long": "内容太多",
    "too_short": "内容太少",
}


def validation_errors(errors: Sequence[Any]) -> list[dict[str, object]]:
    """What is wrong with a request, field by field; the rejected values themselves are not repeated."""
    found = []
    for error in errors[:ERRORS_MAX]:
        context = error.get("ctx") or {}
        english = str(error["msg"]).removeprefix("Value error, ")
        chinese = context.get("reason_zh") or _VALIDATION_ZH.get(error["type"])
        if chinese is None:
            chinese, _, english = english.rpartition(" / ") if " / " in english else ("格式不正确", "", english)
        place = [str(part)[:64] for part in error["loc"] if part not in ("body", "query", "path", "header")]
        found.append({"field": ".".join(place) or "body", "message_zh": chinese, "message_en": english})
    return found


async def refused(request: Request, error: Exception) -> Response:
    """A rule's refusal."""
    if not isinstance(error, Refusal):
        raise error
    return problem_response(refusal_document(error, request.url.path), refusal_status(type(error)))


async def problem(request: Request, error: Exception) -> Response:
    """An error of the API itself."""
    if not isinstance(error, Problem):
        raise error
    return error.response(request.url.path)


async def invalid(request: Request, error: Exception) -> Response:
    """A request that isn't what the documentation says."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = Problem("invalid-request", errors=validation_errors(error.errors()))
    if request.method not in ("GET", "HEAD"):
        found.zh, found.en = f"{found.zh}什么都没有登记。", f"{found.en} Nothing was recorded."
    return found.response(request.url.path)


async def http_error(request: Request, error: Exception) -> Response:
    """What the framework itself answers, such as an unknown path."""
    if not isinstance(error, HTTPException):
        raise error
    code = _FRAMEWORK.get(error.status_code, "bad-request" if error.status_code < 500 else "internal-error")
    headers = dict(error.headers) if error.headers else None
    return Problem(code, headers=headers).response(request.url.path)


async def unavailable(request: Request, error: Exception) -> Response:
    """The database is away, or has no connection to spare: the log says why, the answer says to try again."""
    logger.warning("%s: the database is unavailable: %s: %s", request.url.path, type(error).__name__, error)
    return Problem("database-unavailable", headers={"Retry-After": "1"}).response(request.url.path)


async def unexpected(request: Request, _: Exception) -> Response:
    """Anything else: the log has it, the answer tells nothing of the inside."""
    # The server closes the connection after such an answer, so the client must not use it again.
    return Problem("internal-error", headers={"Connection": "close"}).response(request.url.path)
