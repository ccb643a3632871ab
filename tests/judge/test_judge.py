"""Go's own tlog and note packages judge our log: its root, its tiles, its proofs, and the signature."""

import asyncio
import os
import random
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from api.wiring import timebank
from domain.checkpoint import Checkpoint
from domain.merkle import TILE_HASHES, Tile, consistency_ranges, inclusion_ranges, proof, tile_width
from infrastructure.log import entry_bundle, tile_hashes
from infrastructure.signing import create_key, verified
from tests.conftest import settings_for

SOURCES = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb")
PROOFS = 1_000

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not SOURCES.exists(),
    reason="the judge needs Debian's golang-go and golang-golang-x-mod-dev; CI installs them",
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("judge")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(directory / "cache"),
        "GOFLAGS": "",
        "HOME": str(directory),
    }
    source = Path(__file__).with_name("main.go")
    subprocess.run(["go", "build", "-o", directory / "judge", source], env=environment, check=True)
    return directory / "judge"


def judged(judge: Path, log: Path, key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([judge, log, key, str(PROOFS)], capture_output=True, text=True, check=False)


@pytest.fixture
def log(sample_url: str, tmp_path: Path) -> tuple[Path, str]:
    """The log of the small sample district as files, with proofs; and the key that it is signed with."""
    directory = tmp_path / "log"
    settings = settings_for(sample_url).model_copy(update={"data": tmp_path / "data"})
    key = create_key(settings.data, settings.ledger).verifier
    with timebank(settings) as bank, closing(bank.sealer()) as sealer:
        sealer.catch_up()
        note = sealer.sign()
        assert note is not None
    size = Checkpoint.parse(verified(note, [key])).size
    write(directory / "checkpoint", note.encode())
    tiles = asyncio.run(write_tiles(sample_url, settings.ledger, size, directory))
    chosen = random.Random(7)  # noqa: S311 - any will do, and the same each time

    def read_tile(tile: Tile) -> bytes:
        return tiles[tile]

    for number in range(PROOFS):
        index, old = chosen.randrange(size), chosen.randrange(1, size + 1)
        content = index.to_bytes(8, "big") + old.to_bytes(8, "big")
        for ranges in (inclusion_ranges(index, size), consistency_ranges(old, size)):
            path = proof(ranges, size, read_tile)
            content += len(path).to_bytes(8, "big") + b"".join(path)
        write(directory / "proofs" / str(number), content)
    return directory, str(key)


async def write_tiles(address: str, ledger: str, size: int, directory: Path) -> dict[Tile, bytes]:
    tiles = {}
    async with await AsyncConnection.connect(address, autocommit=True) as connection:
        level = 0
        while size >> 8 * level:
            for number in range((size >> 8 * level) // TILE_HASHES + 1):
                tile = Tile(level, number, tile_width(size, level, number))
                if tile.width:
                    content = await tile_hashes(connection, ledger, tile)
                    assert content is not None
                    tiles[tile] = content
                    write(directory / "tile" / tile.path, content)
                    if level == 0:
                        entries = await entry_bundle(connection, ledger, number, tile.width)
                        assert entries is not None
                        write(directory / "tile" / "entries" / tile.path.partition("/")[2], entries)
            level += 1
    return tiles


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_go_accepts_our_log_and_rejects_what_was_damaged(judge: Path, log: tuple[Path, str], tmp_path: Path) -> None:
    directory, key = log
    done = judged(judge, directory, key)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    counted = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert counted["size"] > TILE_HASHES
    assert counted["inclusions"] == counted["consistencies"] == PROOFS
    assert counted["rejected"] > PROOFS
    damages = {
        "checkpoint": -10,
        "tile/0/000": 40,
        "tile/1/000.p/" + str(counted["size"] // 256): 5,
        "tile/entries/000": 700,
        "proofs/3": -1,
    }
    for name, at in damages.items():
        copy = tmp_path / "damaged"
        shutil.copytree(directory, copy)
        flipped(copy / name, at)
        refused = judged(judge, copy, key)
        assert refused.returncode != 0, name
        shutil.rmtree(copy)
    other = str(create_key(tmp_path / "other", "qingxiu").verifier)
    assert judged(judge, directory, other).returncode == 1
