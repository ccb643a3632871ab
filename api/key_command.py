"""``timebank keys``: the ledger's signing key."""

from datetime import UTC, datetime

import typer

from api.terminal import Json, answer
from domain.statement import NoSigningKey
from infrastructure.settings import Settings, read_settings
from infrastructure.signing import SigningKey, create_key, key_path, read_key, rotate_key

key_app = typer.Typer(help="账本的签名密钥。 The ledger's signing key.", no_args_is_help=True)


@key_app.command("init")
def init_key(as_json: Json = False) -> None:
    """生成账本的签名密钥，每个账本一次；文件在数据目录的 keys 下。 Make the ledger's signing key, once a ledger.

    请另存一份在安全的地方：它不在数据库里，也不在数据库的备份里。 Keep a copy in a safe place: it is in no database.
    """
    settings = read_settings()
    _show_key(create_key(settings.data, settings.ledger), settings, as_json)


@key_app.command("show")
def show_key(as_json: Json = False) -> None:
    """显示账本的公钥，供其他账本核对。 Show the ledger's public key, for other ledgers to trust."""
    settings = read_settings()
    key = read_key(settings.data, settings.ledger)
    if key is None:
        raise NoSigningKey(settings.ledger)
    _show_key(key, settings, as_json)


@key_app.command("rotate")
def rotate_signing_key(as_json: Json = False) -> None:
    """更换签名密钥：旧密钥为新密钥签名后即销毁；服务不必重启。 Replace the key, which first signs the new one.

    请把新文件另存一份；信任旧公钥的人凭签名的交接说明即可信任新公钥。 Keep a copy of the new file, too.
    """
    settings = read_settings()
    key = rotate_key(settings.data, settings.ledger, datetime.now(UTC))
    if key is None:
        raise NoSigningKey(settings.ledger)
    _show_key(key, settings, as_json)


def _show_key(key: SigningKey, settings: Settings, as_json: bool) -> None:
    content = {
        "ledger": settings.ledger,
        "key": str(key.verifier),
        "file": str(key_path(settings.data, settings.ledger)),
    }
    answer(content, as_json, lambda console: console.print(content["key"], soft_wrap=True))
