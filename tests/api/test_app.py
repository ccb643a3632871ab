"""The documentation says all that the service does, and works where there is no internet."""

import gzip
import re
from typing import Any

from api import problems
from api.app import RULES
from domain.refusal import all_refusals
from tests.api.service import Api, api_routes

NOT_OVER_HTTP = {
    "dispute-not-due",
    "objections-still-possible",
    "objections-undecided",
    "period-already-frozen",
    "ledger-already-open",
    "left-to-time",
    "member-elsewhere",
    "request-not-over",
    "silence-not-over",
    "visit-not-overdue",
    "expiry-already-done",
    "expiry-not-due",
    "nothing-expires",
    "unknown-announcement",
    "stars-not-due",
    "not-yet",
    "offer-stands",
    "split-already-done",
    "unknown-split",
}
"""Refusals of what is not done over HTTP: opening a ledger, importing files, what falls due with time alone."""


def operations(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    found = api.client.get("/openapi.json").json()["paths"]
    return [(method, path, operation) for path, methods in found.items() for method, operation in methods.items()]


def codes(operation: dict[str, Any]) -> dict[str, set[str]]:
    """The codes of every error of an operation, by status."""
    return {
        status: set(response["description"].split("、"))
        for status, response in operation["responses"].items()
        if int(status) >= 400
    }


def test_every_refusal_can_be_met_and_every_documented_code_is_one_that_exists(api: Api) -> None:
    known = {item["code"]: item["status"] for item in api.get("/v1/problems").json()["items"]}
    documented = {
        code: int(status)
        for *_, operation in operations(api)
        for status, found in codes(operation).items()
        for code in found
    }
    assert documented.items() <= known.items()
    refusals = {item for item in known if item not in problems.KINDS}
    assert len(refusals) == len(all_refusals())
    assert refusals - documented.keys() == NOT_OVER_HTTP
    # These come from the framework before any route, or from a failure of ours.
    assert problems.KINDS.keys() - documented.keys() == {"method-not-allowed", "internal-error"}


def test_every_error_is_documented_as_a_problem_document(api: Api) -> None:
    for _, path, operation in operations(api):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }, path


def test_every_write_is_decided_by_a_rule_has_an_example_and_takes_a_key(api: Api) -> None:
    writes = [operation for method, _, operation in operations(api) if method == "post"]
    assert {operation["operationId"] for operation in writes} == set(RULES)
    schemas = api.client.get("/openapi.json").json()["components"]["schemas"]
    for operation in writes:
        assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            assert content.get("example") or schemas[name].get("example"), operation["operationId"]


def test_every_example_is_accepted_as_valid(api: Api) -> None:
    for method, path, operation in operations(api):
        if method == "post" and "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            if "example" in content:
                address = re.sub(r"{\w+}", "X-NONE", path.replace("{period}", "2026-10"))
                response = api.post(address, content["example"], "admin")
                assert response.json().get("code") != "invalid-request", (path, response.text)


def test_every_route_says_in_chinese_and_english_what_it_does(api: Api) -> None:
    for _, path, operation in operations(api):
        assert re.search("[一-鿿]", operation["summary"]), path
        assert re.search("[a-z]", operation["summary"]), path
        assert operation["description"], path
    assert "合成数据" in api.app.description


def test_reads_of_lists_share_their_questions(api: Api) -> None:
    for _, path, operation in operations(api):
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("after" in names) == ("limit" in names), path
        # Notices are an outbox, checkpoints of the log: no projections, with no position to wait for.
        assert "after" not in names or "min_position" in names or path.startswith(("/v1/notices", "/v1/log")), path


def test_the_bare_address_leads_to_the_documentation(api: Api) -> None:
    response = api.client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")


def test_the_interactive_documentation_is_served_from_here_alone(api: Api) -> None:
    page = api.client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page.text)
    assert '"validatorUrl": null' in page.text
    linked = re.findall(r'(?:src|href)="(/[^"]*)"', page.text)
    assert len(linked) == 2
    for path in linked:
        packed = api.client.get(path)
        plain = api.client.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.status_code == plain.status_code == 200
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.content == plain.content  # httpx unpacks what is packed
        assert len(gzip.compress(plain.content)) > 20_000
        assert plain.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
    assert "url: '/openapi.json'" in page.text
    assert "SwaggerUIBundle" in api.client.get(linked[1]).text


def test_no_two_routes_share_a_name(api: Api) -> None:
    names = [route.name for route in api_routes(api.app)]
    assert len(set(names)) == len(names)
