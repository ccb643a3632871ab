"""The HTTP service: routes, errors, and the documentation that lists them all."""

import inspect
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, Final

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import (
    board,
    certificate,
    certificate_file,
    certificate_page,
    community,
    community_life,
    consent,
    desk,
    disclosure,
    dispute,
    documentation,
    expiry,
    figures,
    grant,
    group,
    hours,
    household,
    household_life,
    inspection,
    inspection_report,
    log,
    notice,
    objection,
    opening,
    partner,
    policy,
    problems,
    receipts,
    recognition,
    redemption,
    request,
    sheet,
    statement,
    transfer,
    visit,
    witness,
)
from api.answers import answer
from api.due import run_due_each_minute
from api.identity import ROLES_OF, Anyone
from api.notifier import notifying
from api.wiring import Service, Timebank
from domain.journal import StoreUnavailable
from domain.refusal import Refusal, all_refusals

logger = logging.getLogger(__name__)

TITLE: Final = "时间银行 Time bank"
BODY_BYTES_MAX: Final = 2_000_000

CONCEPTS: Final[tuple[ModuleType, ...]] = (
    hours,
    household,
    community,
    policy,
    figures,
    visit,
    sheet,
    desk,
    dispute,
    request,
    partner,
    redemption,
    board,
    household_life,
    statement,
    community_life,
    transfer,
    group,
    grant,
    opening,
    expiry,
    recognition,
    certificate,
    certificate_file,
    certificate_page,
    notice,
    log,
    witness,
    receipts,
    consent,
    disclosure,
    objection,
    inspection,
    inspection_report,
)
"""Each concept's routes, with what the documentation must know of them: see the three tables that follow."""

RULES: Final[dict[str, Callable[..., Any]]] = {
    name: decide for concept in CONCEPTS for name, decide in getattr(concept, "RULES", {}).items()
}
"""Which decision each writing route runs: its docstring says what it refuses, and so does the API's documentation."""

READS_REFUSED: Final[dict[str, tuple[type[Refusal] | str, ...]]] = {
    name: refusals for concept in CONCEPTS for name, refusals in getattr(concept, "READS_REFUSED", {}).items()
} | {"read_problem": ("not-found",)}
"""What the reading routes answer with beside the errors that all of them share: refusals, or codes of the API's own."""

EXAMPLES: Final[dict[str, Any]] = {
    name: example for concept in CONCEPTS for name, example in getattr(concept, "EXAMPLES", {}).items()
}
"""A body for each writing route whose command brings none of its own."""

WITHOUT_DATABASE: Final = frozenset({"read_status", "list_problems", "read_problem"})
"""The routes that answer when the database is away; all others ask it at least who is calling."""


def create_app(bank: Timebank) -> FastAPI:
    """The service for one ledger. Starting it starts the write loop and the projector; stopping it finishes both.

    Raises: LookupError for a route that names nobody who may call it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Service(bank) as service, run_due_each_minute(bank):
            app.state.service = service
            with notifying(bank):
                yield

    synthetic = (
        "**合成数据，没有真实的人。 Synthetic data; no real person is in it.**\n\n" if bank.opened.synthetic else ""
    )
    app = FastAPI(
        title=TITLE,
        version="1",
        description=synthetic
        + "志愿服务时间的账本：登记、确认、查询、公开。金额一律为整数分钟。\n\n"
        + "A ledger of volunteer time. All amounts are whole minutes. Errors are problem documents (RFC 9457).",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # It would ask at every request whether somebody has set it up, and could send out what errors say.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    for concept in CONCEPTS:
        # The routes themselves: a router included whole is matched and entered anew for every request.
        app.router.routes.extend(concept.router.routes)
    app.add_api_route("/v1/status", read_status, methods=["GET"], tags=["服务 service"], summary="服务状态 Status")
    app.add_api_route(
        "/v1/problems", list_problems, methods=["GET"], tags=["服务 service"], summary="错误一览 Problem types"
    )
    app.add_api_route(
        "/v1/problems/{code}", read_problem, methods=["GET"], tags=["服务 service"], summary="错误说明 Problem type"
    )
    for route in app.routes:
        if isinstance(route, APIRoute):
            roles_of(route)  # a service with a route that names nobody doesn't start
    documentation.add_to(app)
    app.add_exception_handler(Refusal, problems.refused)
    app.add_exception_handler(problems.Problem, problems.problem)
    app.add_exception_handler(RequestValidationError, problems.invalid)
    app.add_exception_handler(HTTPException, problems.http_error)
    for away in (psycopg.OperationalError, StoreUnavailable):
        app.add_exception_handler(away, problems.unavailable)
    app.add_exception_handler(Exception, problems.unexpected)
    app.add_middleware(BodyLimit)
    app.openapi = lambda: _documented(app)  # type: ignore[method-assign]
    return app


async def read_status(request: Request, _: Anyone) -> Response:
    """Which ledger this is and how far its figures have followed it. Public."""
    service: Service = request.app.state.service
    opened = service.bank.opened
    return answer(
        {
            "ledger": service.bank.name,
            "name": opened.name,
            "zone": opened.zone,
            "synthetic": opened.synthetic,
            "position": service.position,
        }
    )


async def list_problems(_: Anyone) -> Response:
    """Every kind of problem, with its text in Chinese and English. Public."""
    return answer({"items": [*_problem_types().values()]})


async def read_problem(_: Anyone, code: str) -> Response:
    """What one kind of problem means. Public."""
    found = _problem_types().get(code)
    if found is None:
        raise problems.Problem("not-found")
    return answer(found)


def _code(refusal: type[Refusal]) -> str:
    return refusal.__new__(refusal).code


def _problem_types() -> dict[str, dict[str, object]]:
    found = {_code(refusal): (problems.refusal_status(refusal), refusal.zh, refusal.en) for refusal in all_refusals()}
    return {
        code: {"code": code, "status": status, "text_zh": zh, "text_en": en}
        for code, (status, zh, en) in (found | problems.KINDS).items()
    }


class BodyLimit:
    """Answers a body that is too large, or of undeclared length, with a problem document before reading it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = dict(scope["headers"])
            length = headers.get(b"content-length", b"0")
            code = "length-required" if b"transfer-encoding" in headers else "body-too-large"
            if code == "length-required" or not length.isdigit() or int(length) > BODY_BYTES_MAX:
                await problems.Problem(code).response(scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def roles_of(route: APIRoute) -> tuple[str, ...] | None:
    """Who may call a route; None is everybody. Raises: LookupError for a route that names nobody."""
    for dependency in route.dependant.dependencies:
        if dependency.call in ROLES_OF:
            return ROLES_OF[dependency.call]
    raise LookupError(f"{route.path} names nobody who may call it")


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with who may call each route and every error that it can answer."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = FastAPI.openapi(app)
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    components.setdefault("schemas", {})["Problem"] = {
        "type": "object",
        "description": "RFC 9457. Members beyond these are the facts of the rule that refused.",
        "required": ["type", "title", "status", "code", "detail", "detail_zh", "detail_en", "instance"],
        "properties": {
            name: {"type": "integer" if name == "status" else "string"}
            for name in ("type", "title", "status", "code", "detail", "detail_zh", "detail_en", "instance")
        },
    }
    refusals = {refusal.__name__: refusal for refusal in all_refusals()}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = schema["paths"][route.path_format][method.lower()]
                operation["operationId"] = route.name
                _document_errors(operation, route, refusals)
    app.openapi_schema = schema
    return schema


def _document_errors(operation: dict[str, Any], route: APIRoute, refusals: dict[str, type[Refusal]]) -> None:
    roles = roles_of(route)
    codes: dict[int, list[str]] = {} if route.name in WITHOUT_DATABASE else {503: ["database-unavailable"]}
    if roles is not None:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"{operation.get('description', '')}\n\n可调用 Who: {', '.join(roles)}".strip()
        codes[401] = ["unauthorized"]
        codes[403] = ["role-not-allowed"]
    refused_by_rules = [refusals[name] for name in _refused_by(route.name, refusals)]
    for refusal in (*refused_by_rules, *READS_REFUSED.get(route.name, ())):
        if isinstance(refusal, str):
            codes.setdefault(problems.KINDS[refusal].status, []).append(refusal)
        else:
            codes.setdefault(problems.refusal_status(refusal), []).append(_code(refusal))
    if route.name in RULES:
        if route.name in EXAMPLES:
            operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[route.name]
        codes[400] = ["bad-request"]
        codes.setdefault(409, []).append("command-id-reused")
        codes.setdefault(422, []).append("fact-too-long")
        codes[503].append("ledger-unavailable")
        codes[411], codes[413] = ["length-required"], ["body-too-large"]
    elif any(parameter.name == "min_position" for parameter in route.dependant.query_params):
        codes[503].append("not-yet-projected")
    if "422" in operation["responses"]:
        codes.setdefault(422, []).insert(0, "invalid-request")
    for status, names in sorted(codes.items()):
        operation["responses"][str(status)] = {
            "description": "、".join(sorted(set(names))),
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _refused_by(route_name: str, refusals: dict[str, type[Refusal]]) -> list[str]:
    """The rules that a route's decision names under «Raises:», and those of decisions that it names there in turn, such
    as `log`, from its own module."""
    found: list[str] = []
    waiting = [RULES[route_name]] if route_name in RULES else []
    for decide in waiting:
        text = (inspect.getdoc(decide) or "").partition("Raises:")[2]
        found += [word for word in re.findall(r"\w+", text) if word in refusals]
        named = (getattr(inspect.getmodule(decide), name, None) for name in re.findall(r"`(\w+)`", text))
        waiting += [other for other in named if callable(other) and other not in waiting]
    return found
