"""What listens on each host, against the table of docs/operations.md."""

from __future__ import annotations

import ipaddress
import re

from .scenarios import Drill
from .site import REPO

ROW = re.compile(r"^\| [^|]+ \| (head|worker) \| (this machine|the network) \| `([^`|]+)`")


def listening(drill: Drill) -> None:
    """Nothing listens beyond what docs/operations.md says."""
    allowed: dict[str, list[tuple[bool, range]]] = {"head": [], "worker": []}
    for line in (REPO / "docs" / "operations.md").read_text().splitlines():
        if row := ROW.match(line):
            first, _, last = row[3].partition("-")
            ports = range(1, 2**16) if row[3] == "any" else range(int(first), int(last or first) + 1)
            allowed[row[1]].append((row[2] == "the network", ports))
    drill.check(all(allowed.values()), "docs/operations.md has no table of what listens")
    site = drill.site
    for host, role in ((site.head, "head"), (site.cpu, "worker"), (site.gpu, "worker")):
        found = host.listening()
        for address, port in sorted(found):
            local = ipaddress.ip_address(address.strip("[]").partition("%")[0].replace("*", "0.0.0.0")).is_loopback
            fits = any(port in ports and (local or open_) for open_, ports in allowed[role])
            drill.check(fits, f"{host.name} listens on {address}:{port}")
        drill.note(f"{host.name}: {len(found)}")
