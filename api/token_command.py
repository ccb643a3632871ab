"""``timebank token``: who may do what."""

from typing import Annotated, Any

import psycopg
import typer

from api.terminal import Json, answer, community_of, person_of
from api.wiring import Timebank, known, timebank
from domain.community import Community
from domain.decision import Role
from domain.household import NotEnrolled, Person
from domain.partner import Partner
from infrastructure.settings import read_settings
from infrastructure.tokens import IssuedToken, issue_token, revoke_tokens

token_app = typer.Typer(help="访问令牌：谁可以做什么。 Tokens: who may do what.", no_args_is_help=True)


@token_app.command("add")
def add_token(
    role: Annotated[Role, typer.Option(help="角色。 The role.")],
    person: Annotated[
        str, typer.Option(help="人员编号（志愿者用其志愿者编号）。 The person's number (a volunteer's own number).")
    ],
    community: Annotated[
        str | None, typer.Option(help="工作人员只能处理这个社区；省略则为全区。 Bounds staff to one community.")
    ] = None,
    as_json: Json = False,
) -> None:
    """发一个令牌；只显示这一次，系统只存其哈希值。 Make a token: shown this once, stored as a hash only.

    令牌只写到标准输出，请妥善转交本人。 Hand it to its person only.
    """
    person = person_of(person)
    if role != "staff" and community is not None:
        raise typer.BadParameter("--community 只用于 staff。 --community is for staff only.")
    with timebank(read_settings()) as bank, psycopg.connect(bank.address) as connection:
        issued = new_token(bank, connection, person, role, community)
    community = issued.actor.community
    content = {"token": issued.token, "person": person, "role": role, "community": community}
    answer(content, as_json, lambda console: console.print(issued.token, soft_wrap=True))


def new_token(
    bank: Timebank, connection: psycopg.Connection[Any], person: str, role: Role, community: str | None
) -> IssuedToken:
    """A token for somebody whom the ledger has room for: staff of a community that is registered, a volunteer who is
    enrolled, a registered partner's counter. Staff, auditors and administrators need not be members.

    Raises: UnknownCommunity, NotEnrolled, UnknownPartner.
    """
    if community is not None:
        community = community_of(community)
        known(bank.store, Community.of(community)).require()
    if role == "volunteer" and not known(bank.store, Person.of(person)).volunteer:
        raise NotEnrolled(person)
    if role == "partner":
        known(bank.store, Partner.of(person)).require()
    return issue_token(connection, bank.name, person, role, community)


@token_app.command("revoke")
def revoke_token(
    person: Annotated[str, typer.Option(help="人员编号。 The person's number.")], as_json: Json = False
) -> None:
    """停用一个人的全部令牌（最多 5 秒后生效）。 Revoke all tokens of a person (within 5 seconds)."""
    person = person_of(person)
    with timebank(read_settings()) as bank, psycopg.connect(bank.address) as connection:
        revoked = revoke_tokens(connection, bank.name, person)
    answer(
        {"person": person, "revoked": revoked},
        as_json,
        lambda console: console.print(f"已停用 revoked: {revoked}"),
    )
