"""ledger, hledger and beancount judge our journals: they load with all assertions, and every account holds in each of
them what it holds in the bundle, to the minute."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from application.bundle import read_balances
from domain.fact import Movement
from domain.plain_journal import BEANCOUNT, FORMS, HLEDGER, LEDGER, PlainJournal
from tests.api.processes import answer
from tests.conftest import new_database
from tests.controls import FACT_EXAMPLES, ZONE

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}
BEAN_CHECK = str(Path(sys.executable).with_name("bean-check"))
BEANCOUNT_BALANCES = """
import sys
from beancount import loader
from beancount.core import realization

entries, errors, options = loader.load_file(sys.argv[1])
assert not errors, errors
for account in realization.iter_children(realization.realize(entries)):
    if account.txn_postings:
        print(account.account, account.balance.get_currency_units("MIN").number, sep="|")
"""


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], env=ENVIRONMENT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def printed(*command: object) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ledger_balances(file: Path) -> dict[str, int]:
    shown = printed(
        *("ledger", "--pedantic", "--strict", "--file", file, "balance", "--flat", "--no-total", "--empty"),
        *("--balance-format", "%(account)|%(quantity(display_total))\n"),
    )
    return {name: int(minutes) for name, minutes in (line.split("|") for line in shown.splitlines())}


def hledger_balances(file: Path) -> dict[str, int]:
    shown = printed("hledger", "-f", file, "balance", "--flat", "-E", "-N", "-O", "csv")
    return {name: int(amount.removesuffix(" MIN")) for name, amount in list(csv.reader(shown.splitlines()))[1:]}


def beancount_balances(file: Path) -> dict[str, int]:
    shown = printed(sys.executable, "-c", BEANCOUNT_BALANCES, file)
    return {name: int(minutes) for name, minutes in (line.split("|") for line in shown.splitlines())}


HLEDGER_CHECKS = ("balancednoautoconversion", "accounts", "commodities", "ordereddates")
CHECKS: dict[str, tuple[str, ...]] = {
    LEDGER: ("ledger", "--pedantic", "--strict", "balance", "--file"),
    HLEDGER: ("hledger", "check", *HLEDGER_CHECKS, "-f"),
    BEANCOUNT: (BEAN_CHECK,),
}
TOLD: dict[str, Callable[[Path], dict[str, int]]] = {
    LEDGER: ledger_balances,
    HLEDGER: hledger_balances,
    BEANCOUNT: beancount_balances,
}


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> str:
    """The file's name of each form whose tool is there."""
    name: str = request.param
    tool = CHECKS[name][0]
    if shutil.which(tool) is None:
        if "CI" in os.environ:
            pytest.fail(f"{tool} is missing; .ci/run installs it")
        pytest.skip(f"{tool} is missing; apt-get install ledger hledger")
    return name


@pytest.fixture(scope="module")
def bundle(server_url: str, sample_template: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the small sample district, with all of its scenes played."""
    directory = tmp_path_factory.mktemp("bundle")
    with new_database(server_url, sample_template) as address:
        settings: dict[str, Any] = {"TIMEBANK_DATABASE_URL": address, "TIMEBANK_DATA": directory / "data"}
        assert answer("sample-scenes", **settings)["refused"] == []
        answer("audit", "export", directory / "bundle", **settings)
    return directory / "bundle"


def test_the_district_loads_with_all_assertions_and_every_account_holds_what_ours_does(bundle: Path, form: str) -> None:
    printed(*CHECKS[form], bundle / form)
    ours = {FORMS[form].account(name): minutes for name, minutes in read_balances(bundle).items()}
    assert len(ours) > 30
    assert TOLD[form](bundle / form) == ours


MOVED = re.compile(r"^( +)(\S+)  -([1-9][0-9]*) MIN\n +(\S+)  \3 MIN$", re.MULTILINE)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param("{indent}{source}  -{minutes} MIN\n{indent}{target}  {more} MIN", id="one posting"),
        pytest.param("{indent}{source}  -{more} MIN\n{indent}{target}  {more} MIN", id="both postings"),
        pytest.param("{indent}{source}  0 MIN\n{indent}{target}  0 MIN", id="taken out"),
        pytest.param("{indent}{source}  -{minutes} MIN\n{indent}{other}  {minutes} MIN", id="another household"),
    ],
)
def test_a_changed_journal_is_refused(bundle: Path, form: str, tmp_path: Path, changed: str) -> None:
    text = (bundle / form).read_text()
    credited = [found for found in MOVED.finditer(text) if found[4].startswith(FORMS[form].account("household:H"))]
    last = credited[-1]
    other = next(found[4] for found in credited if found[4] != last[4])
    new = changed.format(
        indent=last[1], source=last[2], minutes=last[3], more=int(last[3]) + 1, target=last[4], other=other
    )
    (tmp_path / form).write_text(text[: last.start()] + new + text[last.end() :])
    refused = run(*CHECKS[form], tmp_path / form)
    assert refused.returncode != 0
    assert re.search("[Bb]alance", refused.stdout + refused.stderr)


def test_every_type_of_movement_and_every_kind_of_name_loads(form: str, tmp_path: Path) -> None:
    facts = [fact for fact in FACT_EXAMPLES if isinstance(fact, Movement)]
    odd = (
        "新竹（北） 二;",
        "𠮷祥\u3000社区",
        "a|b*c",
        "Xa",
        "小—区",
        "a  b",
        "\ue000村",
        "‘’“”",
        "-",
        "%41",
        "é",
        "1",
        ":",
    )
    plain = PlainJournal("qingxiu", ZONE, synthetic=True)
    recorded_at_microseconds = 1_790_000_000_000_000
    texts = plain.head()
    movements = [*facts, *(type(facts[0])("issuance", "pool:" + name, 0, "R1", "S1") for name in odd)]
    movements += [type(facts[0])("issuance", "pool:" + name, at, "R1", "S1") for at, name in enumerate(odd)]
    for position, fact in enumerate(movements, 1):
        recorded_at_microseconds += 86_400_000_000 * 9
        more = plain.movement(position, recorded_at_microseconds, fact.type, fact)
        texts = [text + another for text, another in zip(texts, more, strict=True)]
    texts = [text + another for text, another in zip(texts, plain.end(), strict=True)]
    file = tmp_path / form
    file.write_text(texts[list(FORMS).index(form)])
    printed(*CHECKS[form], file)
    assert TOLD[form](file) == {FORMS[form].account(name): minutes for name, minutes in plain.balances.items()}
