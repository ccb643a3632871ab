"""What an installation may set, all of it through environment variables.

`TIMEBANK_DATA`, `TIMEBANK_DATABASE_URL`, `TIMEBANK_LEDGER`, `TIMEBANK_HOST`, `PORT`, and for notices
`TIMEBANK_NOTICES_LOG`, `TIMEBANK_NOTICES_WEBHOOK` and `TIMEBANK_NOTICES_WEBHOOK_SECRET`. A variable set to nothing
counts as not set, which is what compose files and CI forms write when they mean "default".
"""

import base64
import binascii
import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class BadSetting(ValueError):
    """A setting has a value that can't be used. The message is one line and never shows what is secret."""

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        expected_zh, expected_en = _EXPECTED[name]
        shown = "" if value is None else f"={value!r}"
        super().__init__(
            f"设置 {name}{shown} 不可用：应为{expected_zh}。 / "
            f"The setting {name}{shown} can't be used: it must be {expected_en}."
        )


def _absolute(path: Path) -> Path:
    str(path).encode()  # libpq can't be told of any other
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("~ of a user that doesn't exist") from error


def _libpq_address(url: SecretStr) -> SecretStr:
    try:
        conninfo_to_dict(url.get_secret_value())
    except ProgrammingError:
        # libpq quotes the text it can't read, which may be the password: raise without it.
        raise ValueError("not a PostgreSQL address") from None
    return url


WEBHOOK_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every such secret begins with
WEBHOOK_SECRET_BYTES_MIN, WEBHOOK_SECRET_BYTES_MAX = 24, 64


def webhook_secret_bytes(secret: str) -> bytes:
    """The bytes of a secret as Standard Webhooks write it: ``whsec_`` and base64. Raises: ValueError."""
    if not secret.startswith(WEBHOOK_SECRET_PREFIX):
        raise ValueError("not a webhook secret")
    try:
        found = base64.b64decode(secret.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not WEBHOOK_SECRET_BYTES_MIN <= len(found) <= WEBHOOK_SECRET_BYTES_MAX:
        raise ValueError("too short or too long")
    return found


def _webhook_address(url: SecretStr) -> SecretStr:
    """https, or plain to this very machine: what goes out says who does what. Raises: ValueError."""
    text = url.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("not an address")
    parts = urlsplit(text)
    if parts.port == 0 or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("not an address")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError("neither https nor this machine")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """The settings of one process, read once by whoever wires the parts together."""

    model_config = SettingsConfigDict(
        env_prefix="TIMEBANK_",
        env_ignore_empty=True,
        frozen=True,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    # Below the working directory, not below the program: an installed package must not write into site-packages, and a
    # newcomer who runs `make demo` in a clone finds (and removes) everything in one visible place.
    data: Annotated[Path, AfterValidator(_absolute)] = Path("data")
    """Directory of the embedded database and everything else that is kept between runs."""

    database_url: Annotated[SecretStr, AfterValidator(_libpq_address)] | None = None
    """A PostgreSQL 15+ server to use instead of the embedded one; a secret, because it may hold a password."""

    ledger: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")] = "qingxiu"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, validation_alias="PORT")] = 8000

    checkpoint_seconds: Annotated[float, Field(ge=1, le=86_400)] = 10
    """How often the evidence log is signed at the most while facts keep coming; once they don't, it is at once."""

    log_entries: Literal["auditors", "public"] = "auditors"
    """Who may read the log's entries, which are the facts themselves, over HTTP. Hashes are public in any case."""

    notices_log: Annotated[Path, AfterValidator(_absolute)] | None = None
    """A file that every notice is appended to, a line of JSON each."""

    notices_webhook: Annotated[SecretStr, AfterValidator(_webhook_address)] | None = None
    """Where every notice is POSTed to; a secret, because such addresses often hold a token."""

    notices_webhook_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    """What those are signed with, so that the receiver knows whom they are from."""

    @field_validator("notices_webhook_secret")
    @classmethod
    def _fit_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is not None:
            webhook_secret_bytes(secret.get_secret_value())
        elif info.data.get("notices_webhook") is not None:
            raise ValueError("a webhook needs a secret")
        return secret


_EXPECTED = {
    "TIMEBANK_DATA": ("一个目录的路径", "the path of a directory"),
    "TIMEBANK_DATABASE_URL": (
        "PostgreSQL 地址，如 postgresql://user@host/dbname",
        "a PostgreSQL address such as postgresql://user@host/dbname",
    ),
    "TIMEBANK_LEDGER": (
        "1 到 63 个小写字母、数字或连字符，以字母开头",
        "1 to 63 lower-case letters, digits or hyphens, beginning with a letter",
    ),
    "TIMEBANK_HOST": ("一个网络地址", "a network address"),
    "PORT": ("1 到 65535 的整数", "a whole number from 1 to 65535"),
    "TIMEBANK_CHECKPOINT_SECONDS": ("1 到 86400 的秒数", "a number of seconds from 1 to 86400"),
    "TIMEBANK_LOG_ENTRIES": ("auditors 或 public", "auditors or public"),
    "TIMEBANK_NOTICES_LOG": ("一个文件的路径", "the path of a file"),
    "TIMEBANK_NOTICES_WEBHOOK": (
        "https 地址，或指向本机的 http 地址，不含用户名和密码",
        "an https address, or an http one of this very machine, without user and password",
    ),
    "TIMEBANK_NOTICES_WEBHOOK_SECRET": (
        "whsec_ 加 24 至 64 字节的 base64；设了 TIMEBANK_NOTICES_WEBHOOK 就须填写",
        "whsec_ and 24 to 64 bytes in base64; TIMEBANK_NOTICES_WEBHOOK needs it",
    ),
}
_SECRET: Final = ("TIMEBANK_DATABASE_URL", "TIMEBANK_NOTICES_WEBHOOK", "TIMEBANK_NOTICES_WEBHOOK_SECRET")
"""Settings whose values are never shown."""


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        BadSetting: a variable has a value that can't be used; the first such one is named.
    """
    try:
        return Settings()
    except ValidationError as error:
        # hide_input_in_errors keeps the value out of the text, not out of the list that we read here.
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0])
        name = field if field in _EXPECTED else f"TIMEBANK_{field.upper()}"
        raise BadSetting(name, None if name in _SECRET else str(first["input"])) from None
