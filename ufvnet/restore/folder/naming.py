"""Names: what the manifest calls each picture, and where its output goes."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ufvnet.restore.picture import ENDINGS

from .records import ACCOUNT
from .source import PictureSource


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the inputs name.

    root: the folder that its name is relative to.
    name: path below root.
    named_as_table: its ending is that of a table.
    rows: number of pictures in a table; None for any other file.
    verdict: status and reason of what is not read: a table that has no rows to restore, a member of an archive.
    container: path of the archive, or path or URL of the animation, that it is a member or frame of.
    """

    root: str
    name: str
    named_as_table: bool = False
    rows: int | None = None
    verdict: tuple[str, str] | None = None
    container: str | None = None


def name_sources(files: Sequence[InputFile], suffix: str) -> list[PictureSource]:
    """Sources in the order of their names, with names for their outputs.

    No two outputs have the same name, not even on file systems that ignore case: where a.jpg and a.png lie in one
    folder, their outputs are a.jpg.png and a.png.png. A table's outputs lie in a folder of their own, and no output
    has the name of a folder that other outputs lie in.

    Args:
        files: everything that the inputs name, each file once.
        suffix: what stands between the name of an output and its ending.
    """
    labelled = _labelled(files)
    stems = Counter(os.path.splitext(file.name)[0].casefold() for file in files)
    parents = map(Path, {os.path.dirname(label) for _, label in labelled})
    folders = {*ACCOUNT, *(str(folder).casefold() for parent in parents for folder in (parent, *parent.parents))}
    sources, used, tables, suffix = [], set[str](), set[str](), suffix.casefold()
    labelled.sort(key=lambda pair: not pair[0].named_as_table)  # tables first: the others must avoid their folders
    for file, label in labelled:
        if label.rpartition("#")[0] in tables:  # it could be the manifest's name of a table's row
            label = _free(label, {other.casefold() for _, other in labelled})
        stem, ending = os.path.splitext(label)
        ends = {suffix + e for e in (ending.casefold(), *ENDINGS.values(), ".heic")} if file.rows is None else {""}
        has_own_stem = label != file.name or stems[stem.casefold()] == 1
        candidates = [stem] if has_own_stem else []
        for base in itertools.chain(candidates, [label], (f"{label}-{n}" for n in itertools.count(2))):
            folded = base.casefold()
            if folded not in used and folders.isdisjoint([folded + end for end in ends]):
                break
        used.add(folded)
        if file.rows is not None:
            folders.add(folded)
            tables.add(label)
        shown = label if label != file.name else None
        sources.append(PictureSource(file.root, file.name, base, file.rows, shown, file.verdict, file.container))
    return sorted(sources, key=lambda source: (source.name, source.root))


def _labelled(files: Sequence[InputFile]) -> list[tuple[InputFile, str]]:
    """Files with their names in the manifest, in order; the folder's name is added where two inputs have files of one
    name."""
    several = len({file.root for file in files}) > 1
    counts = Counter(file.name for file in files) if several else Counter[str]()
    used = {name.casefold() for name in counts if counts[name] == 1}
    labelled = []
    for file in sorted(files, key=lambda file: (file.name, file.root)):
        label = file.name
        if counts[file.name] > 1:
            label = _free(os.path.join(os.path.basename(file.root), file.name), used)
            used.add(label.casefold())
        labelled.append((file, label))
    return labelled


def _free(name: str, used: set[str]) -> str:
    """The name itself, or the name with the first number that makes it free."""
    free, number = name, 1
    while free.casefold() in used:
        number += 1
        free = f"{name}-{number}"
    return free
