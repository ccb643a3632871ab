"""What an installation may set, all of it through environment variables.

`TIMEBANK_DATA`, `TIMEBANK_DATABASE_URL`, `TIMEBANK_LEDGER`, `TIMEBANK_HOST` and `PORT`. A variable set to nothing
counts as not set, which is what compose files and CI forms write when they mean "default".
"""

from pathlib import Path
from typing import Annotated

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class BadSetting(ValueError):
    """A setting has a value that can't be used. The message is one line and never shows the database address."""

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
}


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
        raise BadSetting(name, None if name == "TIMEBANK_DATABASE_URL" else str(first["input"])) from None
