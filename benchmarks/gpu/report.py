"""gpu.md: the results of all stages as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .results import Row, table
from .speed import TARGETS, profiles


def report(folder: Path) -> str:
    """The Markdown of the JSON files in a folder."""
    return "\n".join(text for name in SECTIONS if (text := _section(folder, name)))


def _section(folder: Path, name: str) -> str:
    file = folder / f"{name}.json"
    if not file.exists():
        return ""
    content = json.loads(file.read_text())
    machine, left_out = content["machine"], content["left_out"]
    versions = f"{machine['device']}, PyTorch {machine['torch']}, CUDA {machine['cuda'] or 'none'}."
    lines = [f"## {name}", "", versions, ""]
    missing = f"\nNot done, for lack of time: {'; '.join(left_out)}.\n" if left_out else ""
    return "\n".join(lines) + "\n" + SECTIONS[name](content["rows"]) + missing


def _check(rows: dict[str, Row]) -> str:
    failed = [name for name, row in rows.items() if not row.get("passed")]
    shown = [
        [name, "FAILED" if name in failed else "passed", _rest(row, "passed", "seconds")] for name, row in rows.items()
    ]
    return f"{len(rows) - len(failed)} of {len(rows)} passed.\n\n" + table(["check", "", "measured"], shown)


def _speed(rows: dict[str, Row]) -> str:
    columns = ("faces/s", "share", "bandwidth", "peak GiB")
    measured = [
        [key, *(row.get(c) for c in columns), row.get("error", "")]
        for key, row in rows.items() if "faces/s" in row or "error" in row
    ]  # fmt: skip
    limits = [f"{key}: {_rest(row, 'seconds')}" for key, row in rows.items() if key in ("matrix product", "copy")]
    aims = ", ".join(f"{kind} {share}" for kind, share in TARGETS.items())
    text = f"{'; '.join(limits)}. Aims for the share of `ufvnet paper`: {aims}.\n\n"
    text += table(["what", "faces/s", "share of the matrix product", "of the bandwidth", "peak GiB", ""], measured)
    for title, kernels in profiles(rows):
        text += f"\n{title}:\n\n" + table(["kernel", "calls", "ms", "share"], kernels)
    return text


def _train(rows: dict[str, Row]) -> str:
    scored = [
        [key, row["faces seen with stage 1"], damage, *(f"{s[column]:{form}}" for column, form in SCORES.items())]
        for key, row in rows.items() if "scores" in row for damage, s in row["scores"].items()
    ]  # fmt: skip
    other = [f"- {key}: {_rest(row, 'seconds', 'passed')}" for key, row in rows.items() if "scores" not in row]
    header = ["model", "faces seen with stage 1", "damage", *SCORES]
    return "\n".join(other) + "\n\n" + table(header, scored)


def _rest(row: Row, *without: str) -> str:
    def short(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key} {short(value)}" for key, value in row.items() if key not in without)


SCORES = {"psnr": ".2f", "ssim": ".4f", "bicubic psnr": ".2f", "bicubic ssim": ".4f", "gain": "+.2f"}
"""Scores of a damage, protocol y, and how they are written."""
SECTIONS = {"check": _check, "speed": _speed, "train": _train}
