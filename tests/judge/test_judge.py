"""Go's own tlog and note packages judge our log: its root, its tiles, its proofs, and who has signed it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from domain.merkle import TILE_HASHES
from infrastructure.signing import create_key, create_witness_key
from tests.judge.log_files import PROOFS, LogFiles, written

SOURCES = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb")

needs_go = pytest.mark.skipif(
    shutil.which("go") is None or not SOURCES.exists(),
    reason="the judge needs Debian's golang-go and golang-golang-x-mod-dev; CI installs them",
)
pytestmark = needs_go


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


def judged(judge: Path, log: LogFiles, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [judge, directory or log.directory, str(log.key), str(PROOFS), str(log.witness)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def log(sample_url: str, tmp_path: Path) -> LogFiles:
    """The log of the small sample district."""
    return written(sample_url, tmp_path)


def accepted(judge: Path, log: LogFiles) -> dict[str, int]:
    """What the judge counted of a log that it accepts."""
    done = judged(judge, log)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    counted = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert counted["inclusions"] == counted["consistencies"] == PROOFS
    assert counted["rejected"] >= PROOFS
    assert counted["cosigned"] == 2
    return counted


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_go_accepts_our_log_and_rejects_what_was_damaged(judge: Path, log: LogFiles, tmp_path: Path) -> None:
    size = accepted(judge, log)["size"]
    assert size > TILE_HASHES
    older = next((log.directory / "checkpoints").glob("*.note")).name.partition(".")[0]
    damages = {
        "checkpoint": -10,
        f"checkpoints/{older}.note": -10,
        f"checkpoints/{older}.consistency": 40,
        "tile/0/000": 40,
        "tile/1/000.p/" + str(size // 256): 5,
        "tile/entries/000": 700,
        "proofs/3": -1,
    }
    for name, at in damages.items():
        copy = tmp_path / "damaged"
        shutil.copytree(log.directory, copy)
        flipped(copy / name, at)
        refused = judged(judge, log, copy)
        assert refused.returncode != 0, name
        shutil.rmtree(copy)
    other = create_key(tmp_path / "other", "qingxiu").verifier
    assert judged(judge, log._replace(key=other)).returncode == 1
    stranger = create_witness_key(tmp_path / "other" / "witness", log.witness.name).verifier
    assert judged(judge, log._replace(witness=stranger)).returncode == 1
