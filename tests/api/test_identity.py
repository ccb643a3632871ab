"""Who may call what: every route names it, and nobody else gets through."""

import time
from itertools import product
from typing import Any

import psycopg
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from api import figures, identity
from api.app import create_app, roles_of
from api.wiring import SYSTEM
from application.hours_reading import ACTOR
from domain.identifiers import check_id
from infrastructure.tokens import revoke_tokens, token_hash
from tests.api.service import XINZHU, Api, api_routes

PUBLIC = {
    ("GET", path)
    for path in (
        "/v1/figures",
        "/v1/communities",
        "/v1/communities/{community_id}/grids",
        "/v1/policies",
        "/v1/policies/presets",
        "/v1/status",
        "/v1/problems",
        "/v1/problems/{code}",
        "/v1/key",
        "/v1/log/checkpoint",
        "/v1/log/checkpoints",
        "/v1/log/checkpoints/{size}",
        "/v1/log/consistency/{older}/{newer}",
        "/v1/log/successions",
        "/v1/log/tile/{level}/{number:path}",
        "/v1/published-certificates",
        "/v1/certificates/{certificate}/verification",
        "/v1/disclosures",
        "/v1/disclosures/{period}",
        "/v1/disclosures/{period}/late-entries",
        "/verify",
    )
} | {("PUT", "/v1/log/checkpoints/{size}/cosignatures"), ("POST", "/verify")}
"""A cosignature says whose it is; the page is asked in a body, and records nothing."""
CALLER = {"volunteer": "volunteer", "staff": "S1", "auditor": "auditor", "admin": "admin", "partner": "partner"}


def calls(api: Api) -> list[tuple[str, str, APIRoute]]:
    """Every route as somebody may call it, with a body that says nothing."""
    known = {"{record}": "R1", "{household}": "H1", "{volunteer}": "V1", "{community_id}": XINZHU, "{code}": "x"}
    known |= {"{partner_id}": "P1", "{reward}": "RW1", "{reservation}": "RV1", "{period}": "2026-10"}
    found = []
    for route in api_routes(api.app):
        path = route.path
        for name, value in known.items():
            path = path.replace(name, value)
        found += [(method, path, route) for method in route.methods or ()]
    return found


def send(api: Api, method: str, path: str, headers: dict[str, str]) -> Any:
    return api.client.request(method, path, headers=headers, json={} if method == "POST" else None)


def test_every_route_names_who_may_call_it_and_only_figures_and_the_like_are_public(api: Api) -> None:
    public = {(method, route.path) for method, _, route in calls(api) if roles_of(route) is None}
    assert public == PUBLIC
    assert len(calls(api)) > 20
    for method, path, route in calls(api):
        if route.include_in_schema:
            operation = api.app.openapi()["paths"][route.path_format][method.lower()]
            assert ("security" in operation) is (roles_of(route) is not None)
        if roles_of(route) is None:
            assert send(api, method, path, {}).status_code != 401


def test_a_service_with_a_route_that_names_nobody_does_not_start(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_all() -> None:
        """For nobody in particular."""

    open_to_all = APIRouter()
    open_to_all.add_api_route("/v1/secrets", read_all)
    monkeypatch.setattr(figures, "router", open_to_all)
    with pytest.raises(LookupError, match="/v1/secrets"):
        create_app(api.bank)


def test_nobody_can_be_the_programs_own_actors() -> None:
    for actor in (SYSTEM, ACTOR):
        assert check_id(actor.id) is not None


BAD = {
    "none": None,
    "empty": "",
    "no scheme": "tb_x",
    "another scheme": "Basic tb_x",
    "nothing after it": "Bearer",
    "unknown": "Bearer tb_unknown",
    "not ASCII": "Bearer \xe9\xff",
    "long": "Bearer " + "x" * 8000,
    "SQL": "Bearer ' OR 1=1 --",
}


@pytest.mark.parametrize("authorization", BAD.values(), ids=BAD)
def test_without_a_token_that_is_known_nobody_gets_through(api: Api, authorization: str | None) -> None:
    for method, path, route in calls(api):
        if roles_of(route) is not None:
            headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
            response = send(api, method, path, headers)  # type: ignore[arg-type]
            api.problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Bearer")


def test_another_role_is_told_so_and_a_named_one_gets_through(api: Api) -> None:
    api.tokens["volunteer"] = api.tokens[api.new_volunteer().number]
    api.tokens["partner"] = api.new_token("P-0", "partner")
    for (method, path, route), (role, caller) in product(calls(api), CALLER.items()):
        roles = roles_of(route)
        if roles is not None:
            response = send(api, method, path, {"Authorization": f"Bearer {api.tokens[caller]}"})
            if role in roles:
                assert response.status_code != 401
                assert response.json().get("code") != "role-not-allowed"
            else:
                found = api.problem(response, 403, "role-not-allowed")
                assert (found["role"], found["roles_allowed"]) == (role, list(roles))


def test_nobody_but_an_administrator_writes_rules_communities_or_funds(api: Api) -> None:
    only_admin = {route.path for _, _, route in calls(api) if roles_of(route) == ("admin",)}
    places = {f"/v1/{what}" for what in ("community-names", "community-mergers", "community-splits", "grid-moves")}
    places.add("/v1/grid-names")
    proposal = "/v1/policies/proposals"
    rules = {"/v1/policies", *(f"{proposal}/{{proposal}}/{done}" for done in ("approval", "rejection", "withdrawal"))}
    assert only_admin - {proposal} == {"/v1/communities", "/v1/pools/funding", "/v1/trusted-ledgers", *places, *rules}
    writing = {route.path: roles_of(route) or () for method, _, route in calls(api) if method not in ("GET", "HEAD")}
    assert {path: roles for path, roles in writing.items() if "auditor" in roles} == dict.fromkeys(
        (
            "/v1/samples",
            "/v1/samples/{sample}/records/{record}/inspection",
            "/v1/findings",
            "/v1/findings/{finding}/closing",
        ),
        ("auditor",),
    )


def test_a_revoked_token_ends_within_seconds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "REMEMBERED_SECONDS", 0.2)
    api.tokens["leaving"] = api.new_token("L1", "auditor")
    assert api.get("/v1/households", "leaving").status_code == 200
    with psycopg.connect(api.bank.address) as connection:
        assert revoke_tokens(connection, api.bank.name, "L1") == 1
        assert revoke_tokens(connection, api.bank.name, "L1") == 0
    deadline = time.monotonic() + 60
    while (response := api.get("/v1/households", "leaving")).status_code == 200:
        assert time.monotonic() < deadline
    api.problem(response, 401, "unauthorized")


def test_a_token_of_another_ledger_is_unknown_here(api: Api) -> None:
    with psycopg.connect(api.bank.address) as connection:
        connection.execute(
            "INSERT INTO tokens (hash, ledger, person, role) VALUES (%s, 'elsewhere', 'X1', 'admin')",
            (token_hash("tb_elsewhere"),),
        )
    response = api.client.get("/v1/households", headers={"Authorization": "Bearer tb_elsewhere"})
    api.problem(response, 401, "unauthorized")


def test_tokens_are_nowhere_in_the_database_in_clear(api: Api) -> None:
    tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    tables += " AND schemaname NOT LIKE 'pg!_temp!_%' ESCAPE '!'"
    # One statement a transaction: together they would lock more tables than a server has room for.
    with psycopg.connect(api.bank.owner_address, autocommit=True) as connection:
        for schema, table in connection.execute(tables).fetchall():
            for (row,) in connection.execute(f'SELECT t::text FROM "{schema}"."{table}" t'):
                for token in api.tokens.values():
                    assert token not in row
                    assert token.removeprefix("tb_").encode().hex() not in row
