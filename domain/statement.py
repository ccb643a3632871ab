"""Leaving for another ledger: a household takes its balance along on a signed statement, which is paid in once only.

    the ledger that is left            BalanceTakenAlong  household → ledger:<receiving>, and the household is closed
    the statement, signed by its key   numbered, addressed to one ledger, valid for a while
    the ledger that receives           BalancePaidIn      ledger:<issuing> → household, once for each number

So the balance of ``ledger:…`` here is minus that of ``ledger:…`` there, and over both ledgers nothing is made or lost.
Only a ledger whose key somebody has said to trust is believed. What is signed are the bytes of `BalanceStatement.text`;
the signature itself is the business of `infrastructure/signing.py`.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, NamedTuple, get_args

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from domain.account import Account, BalancePaidIn, BalanceTakenAlong, household_account, ledger_account, pool_account
from domain.decision import Context, Decided, Decision, Fold, Reading, read
from domain.fact import Fact
from domain.household import Household, HouseholdClosed, Person, Roster
from domain.household_life import require_nothing_held, require_outsider
from domain.identifiers import HouseholdId
from domain.policy import policy_book
from domain.refusal import AgainstRule, AlreadyDone, Unknown
from domain.request import require_nothing_asked

VALID_DAYS: Final = 90
"""How long a copy of a statement is valid after it was signed; a later copy bears the same number."""
FORMAT: Final = "timebank-statement/v1"
ED25519: Final = b"\x01"
"""The algorithm's mark in a verifier key, as C2SP signed notes have it."""

LedgerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class VerifierKey(NamedTuple):
    """A public key as C2SP signed notes write it: ``name+hash+base64``, where the hash covers name and key."""

    name: str
    hash: bytes
    public_key: bytes
    algorithm: bytes = ED25519

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(self.algorithm + self.public_key).decode()}"

    @staticmethod
    def of(name: str, public_key: bytes, algorithm: bytes = ED25519) -> "VerifierKey":
        hashed = hashlib.sha256(name.encode() + b"\n" + algorithm + public_key).digest()[:4]
        return VerifierKey(name, hashed, public_key, algorithm)

    @staticmethod
    def parse(text: str, algorithm: bytes = ED25519) -> "VerifierKey":
        """Only a key of that algorithm. Raises: ValueError."""
        name, hash_, encoded = (*text.split("+", 2), "", "")[:3]
        data = base64.b64decode(encoded, validate=True)
        key = VerifierKey.of(name, data[1:], algorithm)
        if len(data) != 33 or not name or str(key) != text or hash_ != key.hash.hex():
            raise ValueError("不是有效的公钥 / not a verifier key such as name+hash+base64")
        return key


def _known_key(text: str) -> str:
    try:
        return str(VerifierKey.parse(text))
    except ValueError:
        raise ValueError(
            "不是有效的公钥，应为 timebank keys show 的输出 / not what `timebank keys show` prints"
        ) from None


class LedgerTrusted(Fact, frozen=True, omit_defaults=True):
    """Statements of another ledger are believed from now on if they are signed with this key, and with no other."""

    type = "ledger-trusted.v1"
    ledger: str
    key: str
    trusted_by: str

    def tags(self) -> tuple[str, ...]:
        return ("trust:" + self.ledger,)


class Trust(msgspec.Struct, frozen=True):
    """The key that another ledger's statements are checked with; None: it isn't trusted."""

    ledger: str
    key: str | None = None

    @staticmethod
    def of(ledger: str) -> "Reading[Trust]":
        return _trust.of(ledger)


_trust = Fold[Trust]("trust", Trust, lambda state, fact: Trust(state.ledger, fact.key), (LedgerTrusted,))

StatementFact = BalanceTakenAlong | BalancePaidIn


class StatementState(msgspec.Struct, frozen=True):
    """What became of one statement here. ``statement`` is ``<issuing ledger>-<number>``."""

    statement: str
    paid_in: bool = False

    @staticmethod
    def of(statement: str) -> "Reading[StatementState]":
        return _statement.of(statement)


def _evolve_statement(state: StatementState, fact: StatementFact) -> StatementState:
    return StatementState(state.statement, state.paid_in or isinstance(fact, BalancePaidIn))


_statement = Fold[StatementState]("statement", StatementState, _evolve_statement, get_args(StatementFact))


class Issued(msgspec.Struct, frozen=True):
    """How many statements this ledger has issued."""

    count: int = 0


issued_statements = Fold[Issued](
    "issued", lambda _: Issued(), lambda state, _: Issued(state.count + 1), (BalanceTakenAlong,)
).of("statements")


class BalanceStatement(BaseModel):
    """What a household takes along to another ledger, and what it had earned and spent there in all."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ledger: LedgerName
    number: Annotated[int, Field(ge=1)]
    household: str
    members: tuple[str, ...]
    minutes: Annotated[int, Field(ge=1, le=60_000_000)]
    earned_minutes: int
    spent_minutes: int
    receiving_ledger: LedgerName
    issued_at: AwareDatetime
    valid_until: date
    policy: int

    @property
    def id(self) -> str:
        return f"{self.ledger}-{self.number}"

    def text(self) -> str:
        """The canonical text that is signed: the format's name, and one line of JSON with its names in order."""
        content = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return f"{FORMAT}\n{content}\n"

    @staticmethod
    def parse(text: str) -> "BalanceStatement":
        """Raises: StatementNotGenuine for what no ledger would have signed."""
        name, _, content = text.partition("\n")
        try:
            statement = BalanceStatement.model_validate_json(content)
        except ValidationError:
            raise StatementNotGenuine from None
        if name != FORMAT or statement.text() != text:
            raise StatementNotGenuine
        return statement


class TrustLedger(BaseModel):
    """Trust the statements that another ledger signs with this key; it takes the place of the ledger's key before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ledger: LedgerName
    key: Annotated[str, Field(max_length=200), AfterValidator(_known_key)]


class LeaveForLedger(BaseModel):
    """A household leaves for another ledger, with its balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    receiving_ledger: LedgerName


class TakeAlong(LeaveForLedger):
    """As `LeaveForLedger`, with the name of the ledger that is left."""

    ledger: LedgerName


class PayInStatement(BaseModel):
    """Pay a household's balance from another ledger in, on the signed statement that it brought."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    note: Annotated[str, Field(max_length=20_000, description="The whole statement with its signature, unchanged.")]


class PayIn(BaseModel):
    """As `PayInStatement`, for the ledger that receives: the statement was found to be signed with ``key``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId
    ledger: LedgerName
    statement: BalanceStatement
    key: str


def trust_ledger(command: TrustLedger, context: Context) -> Decision:
    """Raises: LedgerAlreadyTrusted."""
    trust = yield from read(Trust.of(command.ledger))
    if trust.key == command.key:
        raise LedgerAlreadyTrusted(command.ledger)
    return Decided(0, (LedgerTrusted(command.ledger, command.key, context.actor.id),))


def take_balance_along(command: TakeAlong, context: Context) -> Decision:
    """The household is closed; what may still be undone of its past is borne by its community's pool.

    Raises: UnknownHousehold (also where it is outside the staff's community), ClosedHousehold, SameLedger,
    TakeAlongNotAllowed, NothingToTakeAlong, MinutesStillHeld, RequestsStillOpen, DecidedByMember, NoPolicyInForce.
    """
    if command.receiving_ledger == command.ledger:
        raise SameLedger(command.ledger)
    household, book, actor = yield from read(Household.of(command.household), policy_book, Person.of(context.actor.id))
    community = household.require_within(context)
    require_outsider(actor, command.household)
    adopted = book.in_force(context.now.astimezone(context.zone).date())
    if not adopted.policy.take_along:
        raise TakeAlongNotAllowed(adopted.version)
    account, roster, issued = yield from read(
        Account.of(household_account(command.household)), Roster.of(command.household), issued_statements
    )
    require_nothing_held(account)
    yield from require_nothing_asked(command.household, context)
    if account.balance_minutes <= 0:
        raise NothingToTakeAlong(command.household, account.balance_minutes)
    members = tuple(sorted(roster.members))
    taken = BalanceTakenAlong(
        account.account,
        ledger_account(command.receiving_ledger),
        account.balance_minutes,
        command.household,
        f"{command.ledger}-{issued.count + 1}",
        members,
    )
    closed = HouseholdClosed(command.household, "left-for-ledger", pool_account(community), members)
    return Decided(adopted.version, (closed, taken))


def pay_in(command: PayIn, context: Context) -> Decision:
    """A balance that was earned elsewhere is not cut at the cap here: the sum over both ledgers stays what it was.

    Raises: StatementNotGenuine, LedgerNotTrusted, StatementForAnotherLedger, StatementExpired, StatementAlreadyPaidIn,
    UnknownHousehold (also where it is outside the staff's community), ClosedHousehold, DecidedByMember.
    """
    statement = command.statement
    if statement.receiving_ledger != command.ledger:
        raise StatementForAnotherLedger(statement.id, statement.receiving_ledger)
    trust, known, household, actor = yield from read(
        Trust.of(statement.ledger),
        StatementState.of(statement.id),
        Household.of(command.household),
        Person.of(context.actor.id),
    )
    if trust.key != command.key:
        raise LedgerNotTrusted(statement.ledger)
    household.require_within(context)
    require_outsider(actor, command.household)
    if known.paid_in:
        raise StatementAlreadyPaidIn(statement.id)
    if context.now.astimezone(context.zone).date() > statement.valid_until:
        raise StatementExpired(statement.id, statement.valid_until.isoformat())
    paid = BalancePaidIn(
        ledger_account(statement.ledger),
        household_account(command.household),
        statement.minutes,
        command.household,
        statement.id,
        hashlib.sha256(statement.text().encode()).hexdigest(),
        context.actor.id,
    )
    return Decided(0, (paid,))


@dataclass(unsafe_hash=True)
class LedgerAlreadyTrusted(AlreadyDone):
    ledger: str
    zh = "账本“{ledger}”的这把公钥已经受信任。"
    en = "This key of the ledger “{ledger}” is trusted already."


@dataclass(unsafe_hash=True)
class SameLedger(AgainstRule):
    ledger: str
    zh = "转入的账本就是本账本“{ledger}”；在本区内迁移请登记户迁移。"
    en = "“{ledger}” is this ledger itself; within it, a household simply moves."


@dataclass(unsafe_hash=True)
class TakeAlongNotAllowed(AgainstRule):
    version: int
    zh = "规则第 {version} 版不允许把余额带到其他账本。"
    en = "Version {version} of the policy doesn't let a household take its balance to another ledger."


@dataclass(unsafe_hash=True)
class NothingToTakeAlong(AgainstRule):
    household: str
    balance_minutes: int
    zh = "户“{household}”的余额为 {balance_minutes} 分钟，没有可带走的；请直接销户。"
    en = "The household “{household}” holds {balance_minutes} minutes, so there is nothing to take along; close it."


@dataclass(unsafe_hash=True)
class UnknownStatement(Unknown):
    statement: str
    zh = "没有编号为“{statement}”的转出结单。"
    en = "There is no statement “{statement}”."


@dataclass(unsafe_hash=True)
class NoSigningKey(AgainstRule):
    ledger: str
    zh = "账本“{ledger}”还没有签名密钥，请管理员先运行 timebank keys init。"
    en = "The ledger “{ledger}” has no signing key yet; an operator must run `timebank keys init` first."


@dataclass(unsafe_hash=True)
class StatementNotGenuine(AgainstRule):
    zh = "结单的签名不成立：内容被改动过，或不是由该账本签发。"
    en = "The statement's signature doesn't hold: it was altered, or its ledger never signed it."


@dataclass(unsafe_hash=True)
class LedgerNotTrusted(AgainstRule):
    ledger: str
    zh = "账本“{ledger}”的这把公钥不受信任，请管理员先核对并登记。"
    en = "The ledger “{ledger}” is not trusted with this key; an administrator must check and record it first."


@dataclass(unsafe_hash=True)
class StatementForAnotherLedger(AgainstRule):
    statement: str
    receiving_ledger: str
    zh = "结单“{statement}”是开给账本“{receiving_ledger}”的。"
    en = "The statement “{statement}” is addressed to the ledger “{receiving_ledger}”."


@dataclass(unsafe_hash=True)
class StatementExpired(AgainstRule):
    statement: str
    valid_until: str
    zh = "结单“{statement}”的有效期到 {valid_until} 为止，请向原账本索取新的一份。"
    en = "The statement “{statement}” was valid until {valid_until}; ask the ledger that issued it for a new copy."


@dataclass(unsafe_hash=True)
class StatementAlreadyPaidIn(AlreadyDone):
    statement: str
    zh = "结单“{statement}”已经转入过，每份只能转入一次。"
    en = "The statement “{statement}” was paid in already; each is paid in only once."
