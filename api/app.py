"""The HTTP service: routes, errors, and the documentation that lists them all."""

import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api import community, figures, hours, household, policy, problems
from api.answers import answer
from api.identity import ROLES_OF, Anyone
from api.wiring import Service, Timebank
from domain import account as account_rules
from domain import community as community_rules
from domain import hours as hours_rules
from domain import household as household_rules
from domain import policy as policy_rules
from domain.refusal import Refusal, all_refusals

logger = logging.getLogger(__name__)

TITLE: Final = "时间银行 Time bank"
BODY_BYTES_MAX: Final = 2_000_000

RULES: Final[dict[str, Callable[..., Any]]] = {
    "log_hours": hours_rules.log,
    "log_many_hours": hours_rules.log_many,
    "confirm_hours": hours_rules.confirm,
    "reject_hours": hours_rules.reject,
    "reverse_hours": hours_rules.reverse,
    "add_household": household_rules.register_household,
    "add_member": household_rules.register_member,
    "add_volunteer": household_rules.enrol_volunteer,
    "add_community": community_rules.register_community,
    "add_grid": community_rules.register_grid,
    "add_funding": account_rules.fund_pool,
    "add_grant": account_rules.grant_minutes,
    "adopt_policy": policy_rules.adopt,
}
"""Which decision each writing route runs: its docstring says what it refuses, and so does the API's documentation."""


def create_app(bank: Timebank) -> FastAPI:
    """The service for one ledger. Starting it starts the write loop and the projector; stopping it finishes both."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Service(bank) as service:
            app.state.service = service
            yield

    notice = (
        "**合成数据，没有真实的人。 Synthetic data; no real person is in it.**\n\n" if bank.opened.synthetic else ""
    )
    app = FastAPI(
        title=TITLE,
        version="1",
        description=notice
        + "志愿服务时间的账本：登记、确认、查询、公开。金额一律为整数分钟。\n\n"
        + "A ledger of volunteer time. All amounts are whole minutes. Errors are problem documents (RFC 9457).",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in (hours.router, household.router, community.router, policy.router, figures.router):
        # The routes themselves: a router included whole is matched and entered anew for every request.
        app.router.routes.extend(router.routes)
    app.add_api_route("/v1/status", read_status, methods=["GET"], tags=["服务 service"], summary="服务状态 Status")
    app.add_api_route(
        "/v1/problems", list_problems, methods=["GET"], tags=["服务 service"], summary="错误一览 Problem types"
    )
    app.add_api_route(
        "/v1/problems/{code}", read_problem, methods=["GET"], tags=["服务 service"], summary="错误说明 Problem type"
    )
    app.add_exception_handler(Refusal, problems.refused)
    app.add_exception_handler(problems.Problem, problems.problem)
    app.add_exception_handler(RequestValidationError, problems.invalid)
    app.add_exception_handler(HTTPException, problems.http_error)
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
    """Every rule that can refuse a command, with its text in Chinese and English. Public."""
    return answer({"items": [_problem_type(refusal) for refusal in all_refusals()]})


async def read_problem(_: Anyone, code: str) -> Response:
    """What one kind of problem means. Public."""
    for refusal in all_refusals():
        if _code(refusal) == code:
            return answer(_problem_type(refusal))
    raise HTTPException(404)


def _code(refusal: type[Refusal]) -> str:
    return refusal.__new__(refusal).code


def _problem_type(refusal: type[Refusal]) -> dict[str, object]:
    return {
        "code": _code(refusal),
        "status": problems.refusal_status(refusal),
        "text_zh": refusal.zh,
        "text_en": refusal.en,
    }


class BodyLimit:
    """Answers a body that is too large, or of undeclared length, with a problem document before reading it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = dict(scope["headers"])
            length = headers.get(b"content-length", b"0")
            status = 411 if b"transfer-encoding" in headers else 413
            if status == 411 or not length.isdigit() or int(length) > BODY_BYTES_MAX:
                found = problems.framework_problem(status)
                response = problems.problem_response(found.document(scope["path"]), found.status)
                await response(scope, receive, send)
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
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                operation = schema["paths"][route.path][method.lower()]
                _document_errors(operation, route, refusals)
    app.openapi_schema = schema
    return schema


def _document_errors(operation: dict[str, Any], route: APIRoute, refusals: dict[str, type[Refusal]]) -> None:
    roles = roles_of(route)
    codes: dict[int, list[str]] = {}
    if roles is not None:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"{operation.get('description', '')}\n\n可调用 Who: {', '.join(roles)}".strip()
        codes[401] = ["unauthorized"]
        codes[403] = ["role-not-allowed"]
    for name in _refused_by(route.name, refusals):
        codes.setdefault(problems.refusal_status(refusals[name]), []).append(_code(refusals[name]))
    if route.name in RULES:
        codes.setdefault(409, []).append("command-id-reused")
        codes[503] = ["ledger-unavailable"]
        codes[411], codes[413] = ["length-required"], ["body-too-large"]
    elif any(parameter.name == "min_position" for parameter in route.dependant.query_params):
        codes[503] = ["not-yet-projected"]
    if "422" in operation["responses"]:
        codes.setdefault(422, []).insert(0, "invalid-request")
    for status, names in sorted(codes.items()):
        operation["responses"][str(status)] = {
            "description": "、".join(sorted(set(names))),
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _refused_by(route_name: str, refusals: dict[str, type[Refusal]]) -> list[str]:
    """The rules that a route's decision names under «Raises:», those of the decisions that it names included."""
    found: list[str] = []
    waiting = [RULES[route_name]] if route_name in RULES else []
    if route_name == "log_many_hours":
        waiting.append(hours_rules.log)
    for decide in waiting:
        words = (inspect.getdoc(decide) or "").partition("Raises:")[2].replace(",", " ").replace(".", " ").split()
        found += [word for word in words if word in refusals]
    return found


def openapi_json(app: FastAPI) -> str:
    """The OpenAPI document as text, for whoever makes a client without starting the service."""
    return json.dumps(app.openapi(), ensure_ascii=False, indent=2)
