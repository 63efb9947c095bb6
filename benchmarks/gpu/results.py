"""Results of a stage: rows in a small JSON file, which a later run goes on from, within a limit of seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ufvnet.files import write_json

Row = dict[str, Any]


class Results:
    """The rows of a stage by key, written after each of them.

    Args:
        file: JSON; rows in it are not measured again if they are of the same device and versions of torch and CUDA.
        device: on which is measured.
        limit: seconds until nothing new is begun, less the longest time that a row has taken.
    """

    def __init__(self, file: Path, device: torch.device, limit: float):
        self.file, self.started, self.limit = file, time.perf_counter(), limit
        self.longest = 0.0
        self.machine = machine(device)
        self.rows: dict[str, Row] = {}
        self.left_out: list[str] = []
        if file.exists():
            earlier = json.loads(file.read_text())
            if earlier["machine"] == self.machine:
                self.rows = earlier["rows"]

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit - (time.perf_counter() - self.started)

    def measure(self, key: str, work: Callable[[], Row]) -> Row | None:
        """The row of a key: an earlier one, or what ``work`` returns; None if there is no time left for it.

        What ``work`` raises becomes a row with an error, so that one fault does not cost all that comes after it.
        """
        if key in self.rows and "error" not in self.rows[key]:
            return self.rows[key]
        if self.left < self.longest:
            self.left_out.append(key)
            return None
        started = time.perf_counter()
        try:
            row = work()
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300], "passed": False}
        seconds = time.perf_counter() - started
        self.longest = max(self.longest, seconds)
        self.rows[key] = row | {"seconds": round(seconds, 2)}
        print(key, json.dumps(self.rows[key]), flush=True)
        self.write()
        return row

    def write(self) -> None:
        """Write the rows so far."""
        write_json(self.file, {"machine": self.machine, "rows": self.rows, "left_out": self.left_out})

    @property
    def passed(self) -> bool:
        """True if no row has failed."""
        return all(row.get("passed", True) for row in self.rows.values())


def machine(device: torch.device) -> Row:
    """What the results belong to."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda}


def table(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else "" if value is None else str(value).replace("|", "/")
