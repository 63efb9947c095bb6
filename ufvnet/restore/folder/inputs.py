"""What the inputs name: files, files in folders, files that fit a glob, and tables of pictures."""

from __future__ import annotations

import glob
import itertools
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ufvnet.config import ConfigError, RestoreConfig
from ufvnet.data.sources.files import files_below
from ufvnet.files import escape_name, printed
from ufvnet.imaging.formats import VIDEOS
from ufvnet.remote import RemotePath

from .animations import list_frames
from .archives import list_members
from .manifest import listed_outputs
from .naming import InputFile, name_sources
from .outputs import noted_outputs
from .records import ACCOUNT
from .source import PictureSource, is_archive_name, is_table_name, path_of
from .tables import count_rows

ODD_NAME = ("failed", "no file can have the name of this object, and so no output")


def list_sources(config: RestoreConfig) -> list[PictureSource]:
    """Everything that the inputs name, in order of the names; a file that two inputs name is listed once.

    Raises:
        ConfigError: an input does not exist or names nothing, the output lies in an input, or image_root is no folder.
    """
    if config.image_root is not None and not os.path.isdir(config.image_root):
        raise ConfigError(f"image_root = {config.image_root}: no such folder")
    roots: dict[str, tuple[str, str]] = {}  # (root, name) by absolute path
    unusable: list[InputFile] = []
    archives: set[str] = set()
    for given_path in config.inputs:
        if isinstance(given_path, RemotePath):
            root, names = _objects_of(config, given_path)
            _refuse_mixing_in_store(config, given_path, root, names)
            for name in names:
                if {"", ".", ".."}.isdisjoint(name.split("/")):
                    roots.setdefault(f"{root}/{name}", (root, name))
                else:
                    unusable.append(InputFile(root, name.replace("/", "%2f"), verdict=ODD_NAME))
            continue
        root, paths = _files_of(config, given_path)
        output = config.output if isinstance(config.output, Path) else None
        written: set[str] = set()
        if output is not None:
            _refuse_mixing(config, output, given_path, root, paths)
            written = _written_into(output, root) if config.into_input else written
        for path in paths:
            if output is None or not _is_output(config, output, root, path, written):
                roots.setdefault(path, (root, os.path.relpath(path, root)))
        if not os.path.isdir(given_path):
            archives.update(path for path in paths if is_archive_name(path))
        if not any(path in roots for path in paths):
            raise ConfigError(f"input = {given_path}: no files in it")
    files = [f for path, place in roots.items() if path not in archives for f in _with_frames(*place, config)]
    members = [member for path in roots if path in archives for member in _members(path, config)]
    return name_sources([*unusable, *files, *members], config.suffix)


def _with_frames(root: str, name: str, config: RestoreConfig) -> list[InputFile]:
    """A file, or the frames of an animation if all are asked for, which are named as the files of a folder."""
    path = path_of(root, name)
    frames = list_frames(path, config.max_pixels) if config.frames == "all" else []
    if not frames:
        return [_with_rows(root, name, config)]
    return [InputFile(root, f"{name}/{frame}", container=str(path)) for frame in frames]


def _members(path: str, config: RestoreConfig) -> list[InputFile]:
    """The files in an archive, which are named as those in a folder.

    Raises:
        ConfigError: it cannot be read, unpacks to too much or has no files.
    """
    try:
        members = list_members(Path(path), config.recursive)
    except OSError as error:
        raise ConfigError(f"input = {printed(path)}: {printed(str(error.strerror or error))}") from error
    if not members:
        raise ConfigError(f"input = {printed(path)}: no files in it")
    verdicts = {member.name: ("failed", member.fault) for member in members if member.fault}
    return [InputFile(path, member.name, verdict=verdicts.get(member.name), container=path) for member in members]


def _with_rows(root: str, name: str, config: RestoreConfig) -> InputFile:
    path, named_as_table = path_of(root, name), is_table_name(name)
    rows, verdict = count_rows(path, config) if named_as_table and path.is_file() else (None, None)
    return InputFile(root, name, named_as_table, rows, verdict)


def _objects_of(config: RestoreConfig, given_path: RemotePath) -> tuple[str, list[str]]:
    """The URL that names are relative to, and the names of the objects that one input names.

    Raises:
        ConfigError: it names none, or the store does not answer.
    """
    root, pattern = given_path, ""
    try:
        is_there = glob.has_magic(root.url) and (given_path.is_file() or bool(given_path.files(config.recursive)))
        while not is_there and glob.has_magic(root.url):
            root, pattern = root.parent, f"{root.name}/{pattern}".rstrip("/")
        if pattern:
            found = [path for match in root.glob(pattern) for path in (match.files(config.recursive) or [match])]
        elif given_path.is_file():
            root, found = given_path.parent, [given_path]
        else:
            found = given_path.files(config.recursive)
    except OSError as error:
        raise ConfigError(f"input = {given_path}: cannot be read ({printed(error)})") from error
    if not found:
        raise ConfigError(f"input = {given_path}: no objects in it")
    return root.url, list(dict.fromkeys(path.name_below(root) for path in found))


def _files_of(config: RestoreConfig, given_path: Path) -> tuple[str, list[str]]:
    """The folder that names are relative to, and the absolute paths of the files that one input names."""
    if os.path.isdir(given_path):
        root = os.path.abspath(given_path)
        return root, [str(p) for p in files_below(Path(root), config.recursive)]
    if given_path.suffix.lower() in VIDEOS:
        raise ConfigError(f"input = {printed(given_path)}: {video_refusal(given_path.name)}")
    if os.path.lexists(given_path):
        path = os.path.abspath(given_path)
        return os.path.dirname(path), [path]
    if not glob.has_magic(str(given_path)):
        raise ConfigError(f"input = {given_path}: no such file or folder")
    matches = sorted(glob.glob(str(given_path), recursive=True))
    paths = []
    for match in matches:
        if not os.path.isdir(match):
            paths.append(os.path.abspath(match))
        elif config.recursive:
            paths += [str(p) for p in files_below(Path(os.path.abspath(match)))]
    if not paths:
        raise ConfigError(f"input = {given_path}: fits no file")
    parts = given_path.parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return os.path.abspath(Path(*parts[:plain]) if plain else Path()), list(dict.fromkeys(paths))


def video_refusal(name: str) -> str:
    """That a video is not read, with the lines that make pictures of it and put these back."""
    frames = "'frames/%06d.png'"
    return (
        f"is a video; make its frames with\n  mkdir frames && ffmpeg -i {shlex.quote(name)} -r 25 {frames}\n"
        "restore the folder frames with --mode photo --size input, and put them back with\n"
        f"  ffmpeg -framerate 25 -i 'restored/%06d.png' -i {shlex.quote(name)} -map 0:v -map '1:a?' -pix_fmt yuv420p "
        "restored.mp4"
    )


# The output apart from the inputs


def _refuse_mixing_in_store(config: RestoreConfig, given_path: RemotePath, root: str, names: Sequence[str]) -> None:
    """Refuse an output in a store that contains an input, or that lies in one.

    Raises:
        ConfigError: the output is such a folder.
    """
    if isinstance(config.output, Path):
        return
    output = config.output.url
    objects = [f"{root}/{name}" for name in names]
    is_folder = given_path.url not in objects
    if output == root or any(_is_below_url(output, url) for url in (root, *objects)):
        relation = "holds"
    elif is_folder and _is_below_url(root, output):
        relation = "lies in"
    else:
        return
    raise ConfigError(
        f"output = {printed(output)}: {relation} the input {printed(given_path)}; results must not mix with the "
        "originals"
    )


def _is_below_url(folder: str, url: str) -> bool:
    return url.startswith(f"{folder}/")


def _refuse_mixing(
    config: RestoreConfig, output_folder: Path, given_path: Path, root: str, paths: Sequence[str]
) -> None:
    """Refuse an output folder that contains an input, or that lies in one without ``into_input``.

    Symbolic links count as what they lead to.

    Raises:
        ConfigError: the output is such a folder, or a file.
    """
    output, folder = os.path.realpath(output_folder), os.path.realpath(root)
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"output = {config.output}: is a file; it must be a folder")
    if _is_below(output, folder):
        raise ConfigError(
            f"output = {config.output}: holds the input {given_path}; results must not mix with the originals"
        )
    folders = {path: os.path.realpath(path) for path in {os.path.dirname(path) for path in paths}}
    if output != folder:
        originals = {real for real in folders.values() if real != output and not _is_below(output, real)}
        for path in sorted(folders):
            place = os.path.join(output, os.path.relpath(path, root))
            if os.path.realpath(place) in originals:
                raise ConfigError(f"output = {config.output}: {place} leads to a folder of the input {given_path}")
    own = os.path.abspath(output_folder)  # a glob may fit results right in the output folder: no reason to refuse

    def lies_in_output(path: str) -> bool:
        real = os.path.join(folders[os.path.dirname(path)], os.path.basename(path))
        return _is_below(output, os.path.realpath(path) if os.path.islink(path) else real)

    has_inputs = output == folder or any(lies_in_output(path) for path in paths if os.path.dirname(path) != own)
    lies_in_input = given_path.is_dir() and any(_is_below(real, output) for real in _searched(root, folders))
    if not has_inputs and not lies_in_input:
        return
    if not config.into_input:
        link = _link_to(output, root, [*folders, *filter(os.path.islink, paths)])
        through = "" if link is None else f" through the link {printed(link)}"
        raise ConfigError(
            f"output = {config.output}: lies in the input {given_path}{through}; results must not mix with the "
            "originals (--into-input allows it)"
        )
    if output == folder and not config.suffix:
        raise ConfigError(
            f"suffix = {config.suffix!r}: the output is the input's folder, so that originals could be overwritten; "
            "give a suffix, e.g. --suffix _restored"
        )


def _searched(root: str, folders: Iterable[str]) -> set[str]:
    """The real paths of ``root`` and of all folders between it and ``folders``, as links may lead elsewhere."""
    return set(map(os.path.realpath, _ways(root, folders)))


def _link_to(output: str, root: str, paths: Iterable[str]) -> Path | None:
    """The link by which an output lies among the paths below ``root``; None if it lies there without one."""
    for way in sorted(_ways(root, paths), key=lambda way: (len(way.parts), way)):
        real = os.path.realpath(way)
        if real == output or _is_below(real, output) or _is_below(output, real):
            return way if way.is_symlink() and way != Path(root) else None
    return None


def _ways(root: str, paths: Iterable[str]) -> set[Path]:
    """``root``, the paths below it, and all folders between."""
    least = len(Path(root).parts)
    return {Path(root), *(way for path in paths for way in (Path(path), *Path(path).parents) if len(way.parts) > least)}


def _is_below(folder: str, path: str) -> bool:
    return path != folder and path.startswith(os.path.join(folder, ""))


def _written_into(output_folder: Path, root: str) -> set[str]:
    """Names of what earlier runs wrote into the input's own folder, by their accounts; empty for another output."""
    if os.path.realpath(output_folder) != os.path.realpath(root):
        return set()
    return {name for name, _ in itertools.chain(noted_outputs(output_folder), listed_outputs(output_folder))}


def _is_output(config: RestoreConfig, output_folder: Path, root: str, path: str, written: set[str]) -> bool:
    """True for a file that an earlier run wrote into the input; ``written``: names in the input's own folder."""
    if not config.into_input:  # everything else that lies in the output has been refused
        return os.path.dirname(path) == os.path.abspath(output_folder)
    output = os.path.realpath(output_folder)
    if output != os.path.realpath(root):
        return _is_below(output, os.path.realpath(path))
    name = os.path.relpath(os.path.realpath(path), output)
    return name in ACCOUNT or escape_name(name) in written
