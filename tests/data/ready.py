"""What a process loads while it builds its first shard: imported where processes are forked that build one and die."""

from __future__ import annotations

import pandas  # noqa: F401 (pyarrow imports it to make a table of rows)

from ufvnet.faces.finders import choose_finder

choose_finder().load()
