"""Folders beside the output, where they are asked for: each restored face with its crop, and sheets that compare."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from ufvnet.config import RestoreConfig
from ufvnet.faces.crop import Box
from ufvnet.files import check_ours, claim, unescape_name
from ufvnet.imaging.png import encode
from ufvnet.restore.picture import Picture

from .outputs import free_name, output_path, write_output
from .records import ManifestRow
from .source import PIPE

CROP, RESTORED, SHEET = "-input.png", "-restored.png", ".jpg"
"""Endings of a face's two files, after the picture's name and the face's number, and of a picture's sheet."""
QUALITY = 95
"""Of sheets, which are only looked at."""
LONGEST_SHEET = 65_500
"""Pixels; a JPEG can have no more on a side."""


class SideFolders:
    """The folders that ``faces`` and ``compare`` name, if any. They hold files of ours alone.

    Args:
        config: has ``faces`` and ``compare``.
    """

    def __init__(self, config: RestoreConfig):
        self.faces, self.compare = config.faces, config.compare

    @staticmethod
    def check(config: RestoreConfig) -> None:
        """Refuse a folder that holds files of others, or that overlaps an input, the output, or the other folder.

        Raises:
            ConfigError: it is such a folder, or cannot be written to.
        """
        others = [("input", path) for path in config.inputs if isinstance(path, Path) and path != PIPE]
        others += [("output", config.output)] if isinstance(config.output, Path) and config.output != PIPE else []
        for kind, folder in (("faces", config.faces), ("compare", config.compare)):
            if folder is not None:
                check_ours(kind, folder, kind, others)
                others.append((kind, folder))

    def claim(self) -> None:
        """Make the folders and mark them as ours."""
        for kind, folder in (("faces", self.faces), ("compare", self.compare)):
            if folder is not None:
                claim(folder, kind)

    def write(
        self, name: str, before: Picture, after: Picture, boxes: list[Box], restored: Mapping[int, Image.Image]
    ) -> None:
        """Write the files of a picture.

        Args:
            name: of the picture in the manifest.
            before, after: the picture and its output.
            boxes: of all faces.
            restored: faces by the index of their boxes.

        Raises:
            OSError: a file cannot be written.
        """
        if self.faces is not None:
            for i, face in restored.items():
                for ending, image in ((CROP, before.colour.crop(boxes[i])), (RESTORED, face)):
                    write_output(output_path(self.faces, _path(name, f"-{i}{ending}")), encode(image.convert("RGB")))
        if self.compare is not None:
            write_output(output_path(self.compare, _path(name, SHEET)), _sheet(before, after))

    def are_complete(self, row: ManifestRow) -> bool:
        """Whether every file of a finished row is there; a row without restored faces has none."""
        if row["status"] != "restored":
            return True
        return all(path.is_file() for path in self._files(row))

    def _files(self, row: ManifestRow) -> Iterator[Path]:
        faces = row.get("faces")
        numbers = [0] if faces is None else [i for i, face in enumerate(faces) if face["restored"]]
        if self.faces is not None:
            for i in numbers:
                yield from (self.faces / _path(row["path"], f"-{i}{ending}") for ending in (CROP, RESTORED))
        if self.compare is not None:
            yield self.compare / _path(row["path"], SHEET)


def _path(name: str, ending: str) -> str:
    """Path of a file below its folder; of a picture that was named by another path than one below its input, the last
    part counts."""
    path = Path(unescape_name(name))
    plain = path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
    return free_name(plain, ending) + ending


def _sheet(before: Picture, after: Picture) -> bytes:
    """The input, enlarged by bicubic to the output's size, beside the output."""
    width, height = after.size
    share = min(1.0, LONGEST_SHEET / (2 * width), LONGEST_SHEET / height)
    size = (max(1, int(width * share)), max(1, int(height * share)))
    sheet = Image.new("RGB", (2 * size[0], size[1]))
    for i, picture in enumerate((before, after)):
        sheet.paste(picture.resized(size).colour.convert("RGB"), (i * size[0], 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
