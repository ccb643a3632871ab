"""A household's receipts as one file: for those whom it concerns, whole, and verified by anybody without us."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from api.receipts import BATCH_FACTS, proofs_of, proven_of
from api.wiring import Timebank
from domain.checkpoint import Checkpoint, Receipts, receipts_head
from domain.statement import VerifierKey
from infrastructure.signing import create_key, verified
from tests.api.processes import answer, run, until
from tests.api.service import Api, register_places, serving
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


def proven(text: str, key: VerifierKey) -> dict[int, str]:
    """The types of the facts that a file proves, by position."""
    found = Receipts.parse(text)
    checkpoint = Checkpoint.parse(verified(found.checkpoint, [key]))
    leaves = [receipt.proven(checkpoint) for receipt in found.receipts]
    return {leaf.position: leaf.type for leaf in leaves}


def test_a_member_keeps_the_receipts_of_all_hours_of_the_household_as_one_file(
    api: Api, key: VerifierKey, tmp_path: Path
) -> None:
    giver, served, other = api.new_volunteer(), api.new_volunteer(), api.new_volunteer()
    positions = set()
    for hour in (9, 11):
        logged = api.wrote("/v1/hours", giver.hours(hour=hour, recipient_household=served.household), giver.number)
        confirmed = api.wrote(f"/v1/hours/{logged['record']}/confirmation", None, "S1")
        positions |= {logged["position"], confirmed["position"]}
    reversed_ = api.wrote(f"/v1/hours/{logged['record']}/reversal", {"reason": "duplicate"}, "S2")
    waiting = api.wrote("/v1/hours", giver.hours(hour=14), giver.number)
    elsewhere = api.wrote("/v1/hours", other.hours(), other.number)
    positions.add(reversed_["position"])
    sealed(api)
    path = f"/v1/households/{giver.household}/receipts"
    for caller in (giver.number, "auditor", "admin"):
        response = api.get(path, caller, min_position=api.bank.store.head())
        assert response.status_code == 200, response.text
        assert response.headers["cache-control"] == "private, no-store"
        assert response.headers["content-disposition"].endswith(f"{giver.household}.receipts")
        found = proven(response.text, key)
        assert positions | {waiting["position"]} <= found.keys()
        assert {"household-registered.v1", "hours-logged.v1", "hours-confirmed.v1", "hours-reversed.v1"} <= {
            *found.values()
        }
        assert elsewhere["position"] not in found
    given_to = proven(api.get(f"/v1/households/{served.household}/receipts", served.number).text, key)
    assert positions <= given_to.keys()
    assert waiting["position"] not in given_to

    file = tmp_path / "receipts"
    shown = run("receipts", giver.household, **operator(api))
    assert (shown.returncode, shown.stderr) == (0, "")
    file.write_text(shown.stdout)
    elsewhere_ = {"TIMEBANK_DATA": str(tmp_path / "elsewhere")}
    listed = answer("verify", file, "--key", key, **elsewhere_)
    assert (listed["valid"], listed["household"], listed["ledger"]) == (True, giver.household, api.bank.name)
    assert {one["position"]: one["type"] for one in listed["facts"]} == found
    lines = run("verify", file, "--key", key, **elsewhere_).stdout.splitlines()
    assert len([line for line in lines if ".v1 " in line]) == len(found)
    for altered in (shown.stdout[:-5], shown.stdout.replace("\nindex ", "\nindex 1", 1), flipped(shown.stdout)):
        file.write_text(altered)
        refused = run("verify", file, "--key", key, **elsewhere_)
        assert (refused.returncode, refused.stdout) == (1, "")


def flipped(text: str) -> str:
    """With a bit of the third fact another."""
    line = [line for line in text.splitlines() if line.startswith("extra ")][2]
    leaf = bytearray(base64.b64decode(line.removeprefix("extra ")))
    leaf[-9] ^= 1
    return text.replace(line, "extra " + base64.b64encode(leaf).decode())


def test_a_household_that_is_not_ones_own_does_not_exist(api: Api, key: VerifierKey) -> None:
    one, other = api.new_volunteer(), api.new_volunteer()
    sealed(api)
    path = f"/v1/households/{one.household}/receipts"
    api.problem(api.get(path), 401, "unauthorized")
    api.problem(api.get(path, "S1"), 403, "role-not-allowed")
    refused = api.problem(api.get(path, other.number), 404, "unknown-household")
    api.problem(api.get("/v1/households/H-NONE/receipts", "auditor"), 404, "unknown-household")
    assert {name for name in refused if name.startswith("detail")} == {"detail", "detail_zh", "detail_en"}
    assert proven(api.get(path, one.number).text, key)
    assert "H-NONE" in run("receipts", "H-NONE", **operator(api)).stderr


def test_before_a_checkpoint_holds_what_is_asked_for_it_is_asked_again(api: Api) -> None:
    person = api.new_volunteer()
    path = f"/v1/households/{person.household}/receipts"
    api.problem(api.get(path, person.number, min_position=api.bank.store.head()), 422, "no-signing-key")
    create_key(api.bank.settings.data, api.bank.name)

    def there() -> bool:
        response = api.get(path, person.number, min_position=api.bank.store.head())
        if response.status_code != 200:
            api.problem(response, 503, "not-yet-sealed")
        return response.status_code == 200

    until(there)


class Counting(AsyncConnection[Any]):
    """A connection that counts what is asked over it."""

    asked = 0

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        self.asked += 1
        return await super().execute(*arguments, **named)


@pytest.mark.usefixtures("key")
def test_the_questions_to_the_database_are_few_however_many_facts_there_are(api: Api) -> None:
    person = api.new_volunteer()

    async def ask() -> tuple[int, int]:
        async with await Counting.connect(api.bank.read_address, autocommit=True) as connection:
            found = await proven_of(connection, api.bank.name, person.household, api.bank.store.head())
            assert found is not None
            parts = [receipts_head(person.household)]
            for at in range(0, len(found.positions), BATCH_FACTS):
                parts.append(await proofs_of(connection, api.bank.name, found, at))
            assert len(Receipts.parse("".join(parts) + found.checkpoint).receipts) == len(found.positions)
            return len(found.positions), connection.asked

    sealed(api)
    few, asked_for_few = asyncio.run(ask())
    for days_ago in range(1, 11):
        for hour in range(8, 16):
            api.logged(person, days_ago=days_ago, hour=hour)
    sealed(api)
    until(lambda: api.read(f"/v1/households/{person.household}", "auditor") is not None)
    many, asked_for_many = asyncio.run(ask())
    assert (few < 10, many - few) == (True, 80)
    assert asked_for_many == asked_for_few
