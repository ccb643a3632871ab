"""``timebank audit verify``: a bundle verified offline, and told; and how everything that an audit finds is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from api.terminal import answer, fail, say
from application.bundle import (
    CHECKPOINT,
    LOG_KEYS,
    SUCCESSIONS,
    BundleUnreadable,
    Manifest,
    checkpoint_path,
    read_checkpoints,
    read_keys,
    read_manifest,
    read_text,
)
from application.finding import BUNDLE, COSIGNATURE, KEYS, KINDS, NO_CHECKPOINT, UNSIGNED, Finding, Findings
from application.verification import verify_parts
from domain.checkpoint import Checkpoint, NoCheckpoint
from domain.fact import Envelope
from domain.ledger import SYNTHETIC_NOTICE
from domain.statement import VerifierKey
from domain.witness import witness_key
from infrastructure.codec import UnknownFactType, UnreadableFact, decode
from infrastructure.signing import (
    NotCosigned,
    NoteNotGenuine,
    preceding,
    require_cosigned,
    split_successions,
    succeeding,
    verified,
)

FINDINGS_SHOWN = 30


def decoded(type_: str, data: bytes, position: int) -> Envelope[Any]:
    """Raises: ValueError for what can't be decoded."""
    try:
        return decode(type_, data, position)
    except (UnknownFactType, UnreadableFact) as error:
        raise ValueError(str(error)) from error


def audited(
    directory: Path,
    trusted: Sequence[VerifierKey] = (),
    witnesses: Sequence[VerifierKey] = (),
    *,
    rules: bool = True,
    plain: bool = True,
    processes: int | None = None,
) -> tuple[Findings, dict[str, Any]]:
    """All that is found in a bundle, and what was looked at. Without a trusted key the bundle's own is believed."""
    findings = Findings()
    content: dict[str, Any] = {
        "directory": str(directory),
        "rules": rules,
        "journals": plain,
        "key": "named" if trusted else "own",
    }
    try:
        manifest = read_manifest(directory)
        content |= {name: getattr(manifest, name) for name in ("ledger", "size", "period", "synthetic")}
        roots = signed_roots(directory, manifest, trusted, witnesses, findings)
        for checked in verify_parts(directory, manifest, roots, decoded, rules=rules, plain=plain, processes=processes):
            findings.extend(checked.findings)
            if checked.part == "fold":
                content |= {"facts": checked.facts, "movements": checked.movements, "figures": checked.figures}
                content |= {"seals": checked.seals, "samples": checked.samples}
            if checked.part == "rules":
                content |= {"commands": checked.commands, "facts_undecided": checked.undecided}
    except BundleUnreadable as error:
        findings.add(Finding(BUNDLE, error.reason, error.reason, error.path))
    return findings, content


def verify(
    directory: Path, keys: Sequence[str], witnesses: Sequence[str], *, rules: bool, plain: bool, as_json: bool
) -> None:
    """Verify a bundle and tell; the exit status is 1 where anything was found."""
    trusted, of_witnesses = [_key(text) for text in keys], [_witness(text) for text in witnesses]
    say("核对 Verifying …")
    findings, content = audited(directory, trusted, of_witnesses, rules=rules, plain=plain)
    content |= told(findings)

    def show(console: Console) -> None:
        if "size" in content:
            period = "" if content["period"] is None else f"   {content['period']}"
            console.print(
                f"审计包 bundle: {directory}   {content['ledger']}{period}   {content['size']:,} 条事实 facts"
            )
            if content["synthetic"]:
                console.print(SYNTHETIC_NOTICE)
        if not keys:
            console.print(
                "  公钥取自审计包本身，请另行核对。 The key is the bundle's own; compare it elsewhere, or name it."
            )
        if "seals" in content:
            show_recounted(console, content)
        if "commands" in content:
            console.print(f"  {content['commands']:,} 个命令按当时的规则重新决定 commands decided again")
            if content["facts_undecided"]:
                left = content["facts_undecided"]
                console.print(
                    f"  末尾 {left} 条的命令可能未完 the command of the last {left} may go on beyond the bundle"
                )
        show_findings(console, findings)

    answer(content, as_json, show)
    if findings.total:
        raise typer.Exit(1)


def told(findings: Findings) -> dict[str, Any]:
    """What was found, for a JSON document: the first thing, how many of each kind, and the first few of each."""
    return {
        "valid": not findings.total,
        "first": findings.found[0] if findings.found else None,
        "counts": [
            {"kind": kind, "code": code, "count": count, "zh": KINDS[kind][0], "en": KINDS[kind][1]}
            for (kind, code), count in findings.counts.items()
        ],
        "findings": findings.found,
    }


def show_recounted(console: Console, content: dict[str, Any]) -> None:
    """How many seals were counted again, and samples drawn again."""
    console.print(
        f"  {content['seals']:,} 次封存重新计数 seals counted again, "
        f"{content['samples']:,} 次抽样重新抽取 samples drawn again"
    )


def show_findings(console: Console, findings: Findings) -> None:
    """The first thing that is wrong, every kind of it, and the first few of all."""
    if not findings.total:
        console.print("  一切相符 everything agrees")
        return
    first = findings.found[0]
    console.print(f"✗ {first.told_zh}\n  {first.told_en}")
    console.print(f"共 {findings.total} 处 findings:")
    for (kind, code), count in findings.counts.items():
        zh, en = KINDS[kind]
        console.print(f"  {count:,} × {kind}{f' [{code}]' if code else ''}: {zh} {en}")
    for finding in findings.found[1:FINDINGS_SHOWN]:
        console.print(f"  ✗ {finding.told_zh} / {finding.told_en}")


def _key(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text.strip())
    except ValueError as error:
        fail(f"--key：{error}。")


def _witness(text: str) -> VerifierKey:
    try:
        return witness_key(text.strip())
    except ValueError as error:
        fail(f"--witness：{error}。")


def signed_roots(
    directory: Path,
    manifest: Manifest,
    trusted: Sequence[VerifierKey],
    witnesses: Sequence[VerifierKey],
    findings: Findings,
) -> dict[int, list[tuple[str, bytes]]]:
    """The roots that were signed, by their size, each with its checkpoint's place. What doesn't hold is found.

    Without a trusted key those that the bundle names are taken as trusted. Raises: BundleUnreadable.
    """
    notes = split_successions(read_text(directory, SUCCESSIONS))
    own = _own_keys(directory, findings)
    known = linked(list(trusted) or own[-1:], notes)
    for key in own:
        if key not in known:
            findings.add(Finding(KEYS, str(key), str(key), LOG_KEYS))
    for number, note in enumerate(notes, 1):
        if not _is_signed(note, known):
            zh, en = f"第 {number} 份交接", f"note {number}"
            findings.add(Finding(UNSIGNED, zh, en, SUCCESSIONS))
    roots: dict[int, list[tuple[str, bytes]]] = {}
    texts = {CHECKPOINT: (manifest.size, read_text(directory, CHECKPOINT))}
    texts |= {checkpoint_path(size): (size, note) for size, note in read_checkpoints(directory).items()}
    for place, (size, note) in texts.items():
        checkpoint = checked_checkpoint(place, note, manifest.ledger, known, findings)
        if checkpoint is None:
            continue
        if checkpoint.size != size:
            zh, en = f"{checkpoint.size} 条，应为 {size}", f"it is of {checkpoint.size} facts instead of {size}"
            findings.add(Finding(NO_CHECKPOINT, zh, en, place))
            continue
        roots.setdefault(size, []).append((place, checkpoint.root))
    for witness in witnesses:
        _check_witness(texts[CHECKPOINT][1], witness, findings)
    return roots


def linked(trusted: Sequence[VerifierKey], notes: list[str]) -> list[VerifierKey]:
    """Trusted keys, all that they named their successors, and those that led to them."""
    known = succeeding(trusted, notes)
    for key in [*known]:
        known += [one for one in preceding(key, notes) if one not in known]
    return known


def checked_checkpoint(
    place: str, note: str, ledger: str, known: Sequence[VerifierKey], findings: Findings
) -> Checkpoint | None:
    """What a checkpoint says, whoever signed it; that nobody known did is found."""
    try:
        checkpoint = Checkpoint.of_note(note)
    except NoCheckpoint as error:
        findings.add(Finding(NO_CHECKPOINT, str(error), str(error), place))
        return None
    if checkpoint.origin != ledger:
        findings.add(Finding(NO_CHECKPOINT, f"账本 {checkpoint.origin}", f"of {checkpoint.origin}", place))
        return None
    # A key of another log can't speak for this one.
    if not _is_signed(note, [key for key in known if key.name == ledger]):
        findings.add(
            Finding(UNSIGNED, "不是受信任的密钥所签，或被改动过", "no trusted key has signed it as it is", place)
        )
    return checkpoint


def _own_keys(directory: Path, findings: Findings) -> list[VerifierKey]:
    keys = []
    for text in read_keys(directory, LOG_KEYS):
        try:
            keys.append(VerifierKey.parse(text))
        except ValueError:
            findings.add(Finding(KEYS, f"不是公钥：{text}", f"no key: {text}", LOG_KEYS))
    return keys


def _is_signed(note: str, known: Sequence[VerifierKey]) -> bool:
    try:
        verified(note, known)
    except NoteNotGenuine:
        return False
    return True


def _check_witness(note: str, witness: VerifierKey, findings: Findings) -> None:
    try:
        require_cosigned(note, [witness])
    except NotCosigned:
        zh, en = f"没有 {witness.name} 的副签", f"{witness.name} has not cosigned it"
        findings.add(Finding(COSIGNATURE, zh, en, CHECKPOINT))
    except NoteNotGenuine:
        zh, en = f"{witness.name} 的副签不成立", f"the cosignature of {witness.name} doesn't hold"
        findings.add(Finding(COSIGNATURE, zh, en, CHECKPOINT))
