"""Moving to another ledger over HTTP: signed here, paid in there, once only, and nothing lost between the two."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.wiring import timebank
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy, Policy
from domain.statement import BalanceStatement
from infrastructure.settings import Settings
from infrastructure.signing import create_key, read_key
from tests.api.processes import answer as command_answer
from tests.api.processes import run
from tests.api.service import XINZHU, Api, Volunteer, register_places, serving
from tests.conftest import FIRST_DAY, assert_conserved, settings_for

RACERS = 16


@pytest.fixture(scope="module")
def both(ledgers_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api]]:
    """Two ledgers that take balances along, and the second one trusts the first."""
    with ExitStack() as stack:
        apis = []
        for name in ("left", "received"):
            configured = Settings(
                **settings_for(ledgers_url, f"{name[0]}{uuid4().hex}").model_dump(exclude={"data", "port"}),
                data=tmp_path_factory.mktemp(name),
            )
            opening = OpenLedger(name="试验", synthetic=True)
            adopted = AdoptPolicy(effective_on=FIRST_DAY, policy=Policy(take_along=True))
            bank = stack.enter_context(timebank(configured, opening, adopted))
            apis.append(stack.enter_context(serving(bank)))
            register_places(apis[-1])
        left, received = apis
        create_key(left.bank.settings.data, left.bank.name)
        response = left.get("/v1/key")
        assert response.status_code == 200, response.text
        key = response.json()
        assert (
            received.post("/v1/trusted-ledgers", {"ledger": key["ledger"], "key": key["key"]}, "S0").status_code == 403
        )
        received.wrote("/v1/trusted-ledgers", {"ledger": key["ledger"], "key": key["key"]}, "admin")
        yield left, received
        for api in apis:
            assert_conserved(api.bank)
        # What one has given and the other not yet received is what is on statements that nobody has paid in.
        out, paid = statements(left, "out"), statements(received, "in")
        assert paid.items() <= out.items()
        under_way = sum(out.values()) - sum(paid.values())
        assert total(left, "ledger:" + received.bank.name) == sum(out.values())
        assert total(received, "ledger:" + left.bank.name) == under_way - sum(out.values())


def statements(api: Api, direction: str) -> dict[str, int]:
    """The minutes by number of what was taken along or paid in."""
    api.read("/v1/figures")
    with api.bank.reading() as connection:
        rows = connection.execute("SELECT statement, minutes FROM statements WHERE direction = %s", (direction,))
        return dict(rows.fetchall())


def total(api: Api, account: str) -> int:
    api.read("/v1/figures")
    with api.bank.reading() as connection:
        row = connection.execute("SELECT balance_minutes FROM accounts WHERE account = %s", (account,)).fetchone()
    return int(row[0]) if row else 0


def earned(api: Api) -> Volunteer:
    anna = api.new_volunteer()
    api.wrote(f"/v1/hours/{api.logged(anna)}/confirmation", None, "S1")
    return anna


def leave(both: tuple[Api, Api]) -> tuple[Volunteer, str, dict[str, Any]]:
    """Somebody who has left with an hour; the statement's number, and what the route shows of it."""
    left, received = both
    anna = earned(left)
    body = {"household": anna.household, "receiving_ledger": received.bank.name}
    answer = left.wrote("/v1/leavings", body, "S1")
    assert answer["facts"] == ["household-closed.v1", "balance-taken-along.v1"]
    return anna, answer["statement"], left.read(f"/v1/leavings/{answer['statement']}", "S1")


def test_a_household_leaves_with_its_balance_and_is_paid_in_elsewhere_once(both: tuple[Api, Api]) -> None:
    left, received = both
    anna, number, signed = leave(both)
    assert signed["statement"]["members"] == [anna.number]
    assert (signed["statement"]["minutes"], signed["statement"]["earned_minutes"]) == (60, 60)
    assert left.read(f"/v1/households/{anna.household}", "S1")["status"] == "closed"
    home = received.new_household()
    body = {"household": home, "note": signed["note"]}
    received.problem(received.post("/v1/pay-ins", {**body, "household": "H-NONE"}, "S1"), 404, "unknown-household")
    key = uuid4().hex
    assert received.wrote("/v1/pay-ins", body, "S1", key=key)["facts"] == ["balance-paid-in.v1"]
    assert received.post("/v1/pay-ins", body, "S1", key).json()["repeated"]
    assert received.read(f"/v1/households/{home}/balance", "S1")["received_minutes"] == 60
    for household in (home, received.new_household()):
        again = received.post("/v1/pay-ins", {**body, "household": household}, "S1")
        assert received.problem(again, 409, "statement-already-paid-in")["statement"] == number
    kinds = [row["kind"] for row in received.read(f"/v1/households/{home}/statement", "S1")["items"]]
    assert kinds == ["balance-paid-in.v1"]


def test_of_sixteen_who_pay_one_statement_in_at_once_exactly_one_succeeds(both: tuple[Api, Api]) -> None:
    _, received = both
    *_, signed = leave(both)
    homes = [received.new_household() for _ in range(RACERS)]
    start = Barrier(RACERS)

    def pay(home: str) -> int:
        start.wait(60)
        return received.post("/v1/pay-ins", {"household": home, "note": signed["note"]}, "S1").status_code

    with ThreadPoolExecutor(RACERS) as pool:
        codes = list(pool.map(pay, homes))
    assert sorted(codes) == [201] + [409] * (RACERS - 1)
    balances = [received.read(f"/v1/households/{home}/balance", "S1")["balance_minutes"] for home in homes]
    assert sorted(balances) == [0] * (RACERS - 1) + [60]


def test_of_sixteen_who_take_one_balance_along_at_once_exactly_one_succeeds(both: tuple[Api, Api]) -> None:
    left, received = both
    anna = earned(left)
    start = Barrier(RACERS)
    body = {"household": anna.household, "receiving_ledger": received.bank.name}

    def take(_: int) -> int:
        start.wait(60)
        return left.post("/v1/leavings", body, "S1").status_code

    with ThreadPoolExecutor(RACERS) as pool:
        codes = list(pool.map(take, range(RACERS)))
    assert sorted(codes) == [201] + [422] * (RACERS - 1)


def test_a_statement_that_was_altered_anywhere_is_refused(both: tuple[Api, Api]) -> None:
    _, received = both
    *_, signed = leave(both)
    home, head = received.new_household(), received.bank.store.head()
    note = signed["note"]

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, len(note) - 1), st.characters(exclude_categories=["Cs"]))
    def altered(position: int, character: str) -> None:
        if character != note[position]:
            changed = note[:position] + character + note[position + 1 :]
            response = received.post("/v1/pay-ins", {"household": home, "note": changed}, "S1")
            assert response.status_code == 422
            assert response.json()["code"] in ("statement-not-genuine", "ledger-not-trusted")

    altered()
    assert received.bank.store.head() == head + 1 - 1
    response = received.post(
        "/v1/pay-ins", {"household": home, "note": note.replace('"minutes":60', '"minutes":600')}, "S1"
    )
    received.problem(response, 422, "statement-not-genuine")
    received.wrote("/v1/pay-ins", {"household": home, "note": note}, "S1")


def test_a_statement_for_another_ledger_or_out_of_its_time_or_of_an_unknown_one_is_refused(
    both: tuple[Api, Api],
) -> None:
    left, received = both
    _, number, signed = leave(both)
    key = read_key(left.bank.settings.data, left.bank.name)
    assert key is not None
    statement = BalanceStatement.parse(signed["note"].rpartition("\n\n")[0] + "\n")
    home = received.new_household()
    yesterday = datetime.now(UTC).date() - timedelta(days=2)
    for change, code in (
        ({"receiving_ledger": "elsewhere"}, "statement-for-another-ledger"),
        ({"valid_until": yesterday}, "statement-expired"),
        ({"ledger": "nobody-knows"}, "ledger-not-trusted"),
    ):
        note = key.sign(statement.model_copy(update=change).text())
        received.problem(received.post("/v1/pay-ins", {"household": home, "note": note}, "S1"), 422, code)
    other = create_key(received.bank.settings.data / "other", left.bank.name)
    forged = {"household": home, "note": other.sign(statement.text())}
    received.problem(received.post("/v1/pay-ins", forged, "S1"), 422, "statement-not-genuine")
    assert number == statement.id


def test_a_statement_is_shown_to_who_left_to_their_staff_and_to_inspectors_and_may_be_copied(
    both: tuple[Api, Api],
) -> None:
    left, _ = both
    anna, number, signed = leave(both)
    for reader in (anna.number, "S0", "auditor", "admin"):
        assert left.read(f"/v1/leavings/{number}", reader) == signed
    for reader in (left.new_volunteer().number, "S9"):
        left.problem(left.get(f"/v1/leavings/{number}", reader), 404, "unknown-statement")
    left.problem(left.get("/v1/leavings/nobody-1", "admin"), 404, "unknown-statement")


def test_what_can_not_leave_is_refused(both: tuple[Api, Api]) -> None:
    left, received = both
    empty, name = left.new_household(), received.bank.name
    body = {"household": empty, "receiving_ledger": name}
    left.problem(left.post("/v1/leavings", body, "S1"), 422, "nothing-to-take-along")
    left.problem(left.post("/v1/leavings", {**body, "receiving_ledger": left.bank.name}, "S1"), 422, "same-ledger")
    left.problem(left.post("/v1/leavings", body, "S9"), 404, "unknown-household")
    left.problem(left.post("/v1/leavings", body, "auditor"), 403, "role-not-allowed")


def test_a_ledger_without_a_key_or_without_leave_says_so(api: Api) -> None:
    api.problem(api.get("/v1/key"), 422, "no-signing-key")
    anna = earned(api)
    body = {"household": anna.household, "receiving_ledger": "elsewhere"}
    api.problem(api.post("/v1/leavings", body, "S1"), 422, "take-along-not-allowed")


def test_trusted_ledgers_are_listed_and_trusted_once(both: tuple[Api, Api]) -> None:
    left, received = both
    key = left.get("/v1/key").json()
    body = {"ledger": key["ledger"], "key": key["key"]}
    received.problem(received.post("/v1/trusted-ledgers", body, "admin"), 409, "ledger-already-trusted")
    wrong = {**body, "key": key["key"][:-2] + ("BB" if key["key"].endswith("AA") else "AA")}
    received.problem(received.post("/v1/trusted-ledgers", wrong, "admin"), 422, "invalid-request")
    listed = received.read("/v1/trusted-ledgers", "auditor")["items"]
    assert [(item["ledger"], item["key"], item["trusted_by"]) for item in listed] == [(*key.values(), "admin")]
    assert XINZHU not in str(listed)


def desk(api: Api) -> dict[str, object]:
    """The settings of a desk of this ledger, with the token of its staff."""
    settings = api.bank.settings
    assert settings.database_url is not None
    return {
        "TIMEBANK_DATABASE_URL": settings.database_url.get_secret_value(),
        "TIMEBANK_LEDGER": api.bank.name,
        "TIMEBANK_DATA": settings.data,
        "TIMEBANK_TOKEN": api.tokens["S1"],
    }


def test_a_statement_is_issued_shown_and_paid_in_once_on_the_command_line(
    both: tuple[Api, Api], tmp_path: Path
) -> None:
    left, received = both
    anna, home = earned(left), received.new_household()
    issued = command_answer("statement", "issue", anna.household, received.bank.name, **desk(left))
    assert issued["facts"] == ["household-closed.v1", "balance-taken-along.v1"]
    note = run("statement", "show", issued["statement"], **desk(left)).stdout
    # The copy is as good as that of the route: what was altered is refused, and each is paid in once.
    file, altered = tmp_path / "statement.txt", tmp_path / "altered.txt"
    file.write_text(note)
    altered.write_text(note.replace('"minutes":60', '"minutes":61'))
    refused = run("statement", "pay-in", home, altered, **desk(received))
    assert (refused.returncode, "it was altered" in refused.stderr) == (1, True)
    # Whoever has nothing but the key sees that, too.
    offline = ("--key", left.get("/v1/key").json()["key"])
    nothing = {"TIMEBANK_DATA": tmp_path / "elsewhere"}
    shown = command_answer("verify", file, *offline, **nothing)
    said = shown["statement"]
    assert (shown["valid"], f"{said['ledger']}-{said['number']}", said["minutes"]) == (True, issued["statement"], 60)
    assert received.bank.name in run("verify", file, *offline, **nothing).stdout
    other = ("--key", create_key(tmp_path / "other", left.bank.name).verifier)
    for text, keys in ((altered, offline), (file, other)):
        assert run("verify", text, *keys, **nothing).returncode == 1
    paid = command_answer("statement", "pay-in", home, file, **desk(received))
    assert (paid["facts"], paid["minutes"]) == (["balance-paid-in.v1"], 60)
    again = run("statement", "pay-in", home, file, **desk(received))
    assert (again.returncode, "only once" in again.stderr) == (1, True)
