"""Problem documents (RFC 9457): every error as JSON that a program can read and a person can act on."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.decision import RowsRefused
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Refusal, Unknown

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[dict[type[Refusal], int]] = {Unknown: 404, NotAllowed: 403, AlreadyDone: 409, AgainstRule: 422}


class Problem(Exception):
    """An error of the API itself. ``code`` names its kind for ever; ``zh`` and ``en`` say what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        zh: str,
        en: str,
        *,
        headers: dict[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(f"{zh} / {en}")
        self.status, self.code, self.zh, self.en = status, code, zh, en
        self.headers, self.members = headers, members

    def document(self, instance: str) -> dict[str, object]:
        return _document(self.status, self.code, self.zh, self.en, instance, self.members)


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
    return {
        "type": f"/v1/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": f"{zh} / {en}",
        "detail_zh": zh,
        "detail_en": en,
        "instance": instance,
        **members,
    }


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
    for error in errors:
        context = error.get("ctx") or {}
        english = str(error["msg"]).removeprefix("Value error, ")
        chinese = context.get("reason_zh") or _VALIDATION_ZH.get(error["type"])
        if chinese is None:
            chinese, _, english = english.rpartition(" / ") if " / " in english else ("格式不正确", "", english)
        place = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
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
    return problem_response(error.document(request.url.path), error.status, error.headers)


async def invalid(request: Request, error: Exception) -> Response:
    """A request that isn't what the documentation says."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = Problem(
        422,
        "invalid-request",
        "请求内容不正确，什么都没有登记；请按各字段的说明修改。",
        "The request is not valid and nothing was recorded; see each field.",
        errors=validation_errors(error.errors()),
    )
    return await problem(request, found)


_FRAMEWORK: Final = {
    404: ("not-found", "没有这个地址。", "There is nothing at this address."),
    405: ("method-not-allowed", "这个地址不支持该方法。", "This address does not take that method."),
    411: (
        "length-required",
        "请求须注明内容长度（Content-Length）。",
        "A request with a body must declare its Content-Length.",
    ),
    413: (
        "body-too-large",
        "请求内容太大，请分批提交，或用 timebank import 导入。",
        "The body is too large; send it in several batches, or use `timebank import`.",
    ),
}


def framework_problem(status: int, headers: dict[str, str] | None = None) -> Problem:
    """What the framework itself answers, such as an unknown path, as a problem."""
    code, zh, en = _FRAMEWORK.get(status, (f"http-{status}", "请求失败。", "The request failed."))
    return Problem(status, code, zh, en, headers=headers)


async def http_error(request: Request, error: Exception) -> Response:
    """An error that the framework raised."""
    if not isinstance(error, HTTPException):
        raise error
    return await problem(request, framework_problem(error.status_code, dict(error.headers) if error.headers else None))


async def unexpected(request: Request, _: Exception) -> Response:
    """Anything else: the log has it, the answer tells nothing of the inside."""
    found = Problem(
        500,
        "internal-error",
        "服务器内部出错，已记入日志；用同一个 Idempotency-Key 重试是安全的。",
        "The server failed and has logged it; trying again with the same Idempotency-Key is safe.",
    )
    return problem_response(found.document(request.url.path), found.status)
