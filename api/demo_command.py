"""``timebank demo``, ``sample`` and ``sample-scenes``: the synthetic district, and a ledger with nothing else in it."""

import json
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final

import psycopg
import typer
from rich.console import Console

from api.import_command import catch_up, keep_in_vault
from api.ledger_command import show_figures
from api.scenes import play_scenes
from api.serve_command import require_free_port
from api.terminal import Json, answer, fail, hours_of, progress, say
from api.token_command import new_token
from api.wiring import Timebank, known, timebank
from application.hours_import import HoursImport, ImportReport, import_in_turn
from application.sample import write_sample
from application.sample_scenes import CANTEEN, STORIES, TO_COLLECT
from application.scenes import Played, redemption_code
from domain.decision import Role
from domain.ledger import OpenLedger
from domain.partner import Partner
from domain.policy import AdoptPolicy
from domain.presets import PRESETS
from infrastructure.settings import read_settings
from infrastructure.tokens import revoke_tokens

DEMO_NAME: Final = "青秀区时间银行（合成示例 synthetic sample）"
DEMO_POLICY: Final = AdoptPolicy(effective_on=date(2022, 1, 1), policy=PRESETS["qingxiu"].policy)
DEMO_PEOPLE: Final[dict[Role, tuple[str, str | None]]] = {
    "volunteer": ("V00001", None),
    "staff": ("S0101", "新竹社区"),
    "auditor": ("A001", None),
    "admin": ("D001", None),
    "partner": (CANTEEN, None),
}

commands = typer.Typer()


@commands.command()
def demo(
    households_served: Annotated[int, typer.Option(min=1, help="被服务的户数。 Households served.")] = 1898,
    hours: Annotated[int, typer.Option(min=1, help="服务总小时。 Hours of service.")] = 430_000,
    seed: Annotated[int, typer.Option(help="随机种子。 Seed of the synthetic district.")] = 7,
    serve_it: Annotated[bool, typer.Option("--serve/--no-serve", help="启动服务。 Serve the API.")] = True,
) -> None:
    """生成并导入合成示例区，显示数字，启动服务。 Make and import a synthetic district, show its figures, serve it.

    第二次运行直接使用已有数据。 A second run starts on the data already there.
    """
    settings = read_settings()
    if serve_it:
        require_free_port(settings)
    opening = OpenLedger(name=DEMO_NAME, synthetic=True)
    with timebank(settings, opening, DEMO_POLICY) as bank:
        if not bank.opened.synthetic:
            fail(
                f"账本“{bank.name}”是真实账本，示例不会写入；请另设 TIMEBANK_DATA 或 TIMEBANK_LEDGER。 / "
                f"The ledger “{bank.name}” is a real one and stays untouched; "
                "set another TIMEBANK_DATA or TIMEBANK_LEDGER."
            )
        arguments = {"households_served": households_served, "hours": hours, "seed": seed}
        _import_sample(bank, settings.data / "sample", **arguments)
        catch_up(bank)
        _play_scenes_once(bank, settings.data / "sample" / "played.json", arguments)
        show_figures(bank, False, None, "service", None, 1)
        _print_demo_tokens(bank, seed)
    if serve_it:
        # Serve from a fresh program: an import of years of records leaves a process larger than a service needs.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, sys.argv[0], "serve"])  # noqa: S606 - this very program


def _import_sample(bank: Timebank, directory: Path, households_served: int, hours: int, seed: int) -> None:
    """Write and import the sample, unless all of it is in the ledger: what a killed run left out is added."""
    arguments = {"households_served": households_served, "hours": hours, "seed": seed}
    done, what_is_done = directory / "imported.json", json.dumps({**arguments, "ledger": bank.name})
    if done.exists() and done.read_text(errors="replace") == what_is_done and bank.store.head() > 2:
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    with progress("生成合成数据 Writing the synthetic district", None) as told:
        try:
            summary = write_sample(directory, **arguments, progress=lambda now, _: told(now))
        except (ValueError, FileExistsError) as error:
            fail(str(error))
    files = [HoursImport(bank.store, bank.zone, directory / name, ledger_is_synthetic=True) for name in summary.files]

    def recorded(file: HoursImport, report: ImportReport) -> None:
        if report.rows_refused:
            fail(f"示例有 {report.rows_refused} 行被拒绝 / {report.rows_refused} rows of the sample were refused")
        keep_in_vault(bank, file)
        say(f"已导入 Imported {report.file}")

    rows_estimate = sum(file.file.rows_estimate for file in files)
    with bank.indexing(), progress(f"导入 Importing {len(files)} 个文件 files", rows_estimate) as told:
        import_in_turn(files, recorded, progress=told)
    done.write_text(what_is_done)


def _play_scenes_once(bank: Timebank, done: Path, arguments: dict[str, int]) -> None:
    """Play the scenes, unless this program has played them all before: finding their cast takes a second or two."""
    scenes = [story.__name__ for story in STORIES]
    what_is_done = json.dumps({**arguments, "ledger": bank.name, "opened": bank.opened.name, "scenes": scenes})
    if done.exists() and done.read_text(errors="replace") == what_is_done and bank.store.head() > 2:
        return
    done.unlink(missing_ok=True)
    _play_scenes(bank, arguments["seed"])
    done.write_text(what_is_done)


def _play_scenes(bank: Timebank, seed: int) -> Played:
    """Play the scenes, and say on stderr which of them the rules refused; a demo goes on without those."""
    say("情景 Scenes…")
    played = play_scenes(bank, DEMO_PEOPLE["volunteer"][0], DEMO_POLICY, datetime.now(UTC), seed)
    for scene, refusal in played.refused:
        say(f"  {scene}：{refusal}")
    catch_up(bank)
    return played


def _print_demo_tokens(bank: Timebank, seed: int) -> None:
    typer.echo("示例令牌，每个角色一个（重新运行即换新） Demo tokens, one a role (made anew each time):")
    with psycopg.connect(bank.address) as connection:
        for role, (person, community) in DEMO_PEOPLE.items():
            if role == "partner" and known(bank.store, Partner.of(person)).registered is None:
                continue  # its scene was refused
            revoke_tokens(connection, bank.name, person)
            issued = new_token(bank, connection, person, role, community)
            typer.echo(f"  {role:<10} {issued.token}   {person} {community or ''}".rstrip())
    typer.echo(
        f"待领取 To collect: {DEMO_PEOPLE['volunteer'][0]} {TO_COLLECT}，"
        f"兑换码 code {redemption_code(seed, TO_COLLECT)} → {CANTEEN}"
    )
    typer.echo()


@commands.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="写入的目录。 Where to write.")],
    households_served: Annotated[int, typer.Option(min=1, help="被服务的户数。 Households served.")] = 1898,
    hours: Annotated[int, typer.Option(min=1, help="服务总小时。 Hours of service.")] = 430_000,
    seed: Annotated[int, typer.Option(help="随机种子，相同则文件相同。 Same seed, same files.")] = 7,
    as_json: Json = False,
) -> None:
    """生成合成示例区的服务记录文件。 Write the files of a synthetic district (no real person in them)."""
    try:
        with progress("生成合成数据 Writing the synthetic district", None) as told:
            summary = write_sample(
                directory,
                households_served=households_served,
                hours=hours,
                seed=seed,
                progress=lambda done, _: told(done),
            )
    except (ValueError, FileExistsError) as error:
        fail(str(error))

    def show(console: Console) -> None:
        console.print(f"合成数据，没有真实的人。 Synthetic data; no real person is in it. → {directory}")
        for name in summary.files:
            console.print(f"  {directory / name}")
        console.print(
            f"  {summary.records:,} 条记录 records, {hours_of(summary.service_minutes)} 小时 hours, "
            f"{summary.households_served:,} 户被服务 households served"
        )

    answer(summary, as_json, show)


@commands.command()
def sample_scenes(
    seed: Annotated[int, typer.Option(help="随机种子：兑换码、门码由它而来。 Codes come from it.")] = 7,
    as_json: Json = False,
) -> None:
    """在已导入示例区的合成账本里演出各种情景。 Play scenes in a synthetic ledger that holds the sample district.

    需求、签到、争议、兑换、拨付、户与社区的变动，都按规则决定；再次运行不会重复，中断后可继续。
    Requests, visits, disputes, rewards, grants, and households and places that change, all decided by the rules.
    Running it again adds nothing, and completes what a killed run left out.
    """
    with timebank(read_settings()) as bank:
        catch_up(bank)
        played = _play_scenes(bank, seed)
    answered = {
        "recorded": played.recorded,
        "repeated": played.repeated,
        "refused": [{"scene": scene, "reason": str(refusal)} for scene, refusal in played.refused],
    }
    answer(
        answered,
        as_json,
        lambda console: console.print(
            f"情景 scenes: {played.recorded} 步已记录 steps recorded, {played.repeated} 步先前已有 there before, "
            f"{len(played.refused)} 个被规则拒绝 refused"
        ),
    )
