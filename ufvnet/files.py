"""Safe writing of files and safe names.

A file that we write is complete or absent, only folders of ours are written to, no name leads outside its folder, and
a name that is printed cannot control a terminal.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from ufvnet.errors import ConfigError

TEMPORARY = ".ufvnet-{}.tmp"
"""Name of a file while it is written. It is short, and does not contain the final name, which may be very long."""

MARKER = ".ufvnet.json"
"""The first file in every folder of ours; it says what kind of folder it is."""

LONGEST = 200
"""Most bytes of a name that ``safe_name`` returns; with an ending it still fits a file system's limit of 255."""


# Atomic writing


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY.format(uuid.uuid4().hex[:12]))
    try:
        write_as_usual(temporary, write)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_as_usual(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a new file, and give it the mode of any new file: safetensors closes its own to all others."""
    path.touch()
    mode = path.stat().st_mode
    write(path)
    if path.stat().st_mode != mode:
        path.chmod(stat.S_IMODE(mode))


def write_bytes(path: Path, data: bytes) -> None:
    """Atomically write bytes."""
    write_atomically(path, lambda p: p.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Atomically write UTF-8 text."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, data: object) -> None:
    """Atomically write indented JSON."""
    write_text(path, json.dumps(data, indent=2, default=str) + "\n")


# Reading


def read_small(path: Path, limit: int = 2**20) -> bytes:
    """Read a small file, e.g. of settings, without ever waiting for a pipe or filling the memory.

    Raises:
        OSError: the file cannot be read, is not a regular file (a folder, a pipe, a device), or has more than ``limit``
            bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL in its name
        raise OSError(errno.EINVAL, str(error), printed(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", printed(path))
    with open(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit:,} bytes", printed(path))
    return content


# Digests


class Readable(Protocol):
    """A path of a file system, or one in a store (``ufvnet.remote``)."""

    def is_file(self) -> bool: ...

    def open(self, mode: Literal["rb"]) -> Any: ...


def sha256(content: Readable | bytes | OSError | None) -> str | None:
    """The sha256 (hex) of a file or of bytes; None if it cannot be read. Pipes are not read: they would block."""
    if content is None or isinstance(content, OSError):
        return None
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    try:
        if not content.is_file():
            return None
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def is_intact(path: Path, digest: str | None) -> bool:
    """True if a file has this sha256. Each process reads a file once, and again if it has changed."""
    try:
        status = path.stat()
        return digest is not None and _cached_sha256(path, status.st_ino, status.st_size, status.st_mtime_ns) == digest
    except OSError:
        return False


@functools.lru_cache(maxsize=4096)
def _cached_sha256(path: Path, *_: int) -> str | None:
    return sha256(path)


# Folders of ours


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again; XDG_CACHE_HOME names another place."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "ufvnet"


def check_writable(key: str, folder: Path) -> None:
    """Refuse a folder, named by a key of the configuration, in which no file can be created.

    Raises:
        ConfigError: the folder is missing and cannot be created, is not a folder, or is not writable.
    """
    if "\0" in str(folder):  # Path.exists would only say that it is missing
        raise ConfigError(f"{key} = {printed(folder)}: no folder's name has a NUL in it")
    try:
        existing = next(
            p for p in (folder, *folder.absolute().parents) if p.exists() or p.is_symlink()
        )  # a link to nowhere
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key} = {printed(folder)}: {error}") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ConfigError(f"{key} = {printed(folder)}: {printed(existing)} is not a folder that can be written to")


def check_ours(
    key: str,
    folder: Path,
    kind: str,
    sources: Iterable[tuple[str, object]] = (),
    cards: Callable[[Path], bool] = lambda _: False,
) -> None:
    """Refuse an output folder that holds files of another origin, or that overlaps an input.

    A folder is accepted if it is missing or empty, has our marker of this kind, or has no marker but a card of ours
    that ``cards`` recognises (folders of releases before there were markers).

    Args:
        key: the configuration's key that names the folder, for the message.
        folder: the output folder.
        kind: what the folder will hold, e.g. ``dataset``; a folder of ours of another kind is refused too.
        sources: (key, folder or file) of every input; an input and the output may not contain each other. What is no
            ``Path`` lies in an object store.
        cards: returns True if a folder has such a card.

    Raises:
        ConfigError: the folder is not ours, overlaps an input, or cannot be written to.
    """
    check_writable(key, folder)
    for source_key, source in sources:
        if not isinstance(source, Path):
            continue
        ours, theirs = folder.resolve(), source.resolve()
        if ours == theirs or ours in theirs.parents or theirs in ours.parents:
            raise ConfigError(
                f"{key} = {printed(folder)}: overlaps {source_key} = {printed(source)}; outputs need a folder apart"
            )
    other = marked_kind(folder)
    if not folder.is_dir() or _empty(folder) or other == kind or (not other and cards(folder)):
        return
    what = f"holds a {other} of ufvnet" if other else "is not empty, and ufvnet did not make it"
    raise ConfigError(f"{key} = {printed(folder)}: {what}; name a new or empty folder, or move its files away")


def make_folder(folder: Path) -> None:
    """Create an output folder and its parents. This may fail for reasons that ``check_writable`` cannot foresee.

    Raises:
        ConfigError: no folder can be created at this path.
        OSError: the path is right, but the disk is full, fails or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"out = {printed(folder)}: no folder can be made there ({error.strerror})") from error


def claim(folder: Path, kind: str) -> None:
    """Create a folder that ``check_ours`` accepted, and mark it as ours.

    Raises:
        ConfigError: it cannot be created.
    """
    if marked_kind(folder) != kind:
        make_folder(folder)
        write_json(folder / MARKER, {"made_by": "ufvnet", "kind": kind})


def marked_kind(folder: Any) -> str | None:
    """What kind of folder of ours this is; None if it has no marker."""
    try:
        if not (folder / MARKER).is_file():
            return None  # a pipe would block
        card = json.loads((folder / MARKER).read_bytes())
        return str(card["kind"]) if card["made_by"] == "ufvnet" else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _empty(folder: Path) -> bool:
    """True if the folder holds nothing but temporary files and locks that a killed run of ours left."""
    return all(re.fullmatch(r"\.ufvnet(-[0-9a-f]{12}\.tmp|\.lock)", path.name) for path in folder.iterdir())


# Names


def safe_name(text: str) -> str:
    """Any text as the name of one file or folder: unchanged if it is a valid name, else escaped, with a hash.

    Different texts get different names. ``.`` and ``..``, separators, control characters, hidden names and names of
    more than LONGEST bytes are escaped or cut.
    """
    raw = os.fsencode(text) if _encodes(text) else text.encode("utf-8", "backslashreplace")
    plain = raw.decode("utf-8", "backslashreplace")
    name = re.sub(r"[\x00-\x1f\x7f/\\]", lambda m: f"%{ord(m[0]):02x}", plain)
    name = f"%2e{name[1:]}" if name.startswith(".") else name
    if name == text and len(raw) <= LONGEST and name and not re.search("~[0-9a-f]{12}$", name):
        return name
    short = name.encode()[: LONGEST - 13].decode("utf-8", "ignore")
    return f"{short}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


NAME = 64
"""Most characters of a name that ``check_name`` accepts."""


def check_name(key: str, text: str) -> str:
    """Check a name from a configuration or from data that becomes a folder's name unchanged, e.g. that of a split.

    Raises:
        ConfigError: the name is empty or too long, does not begin with a letter, a digit or ``_``, or holds characters
            other than these, ``.`` and ``-``.
    """
    if not (re.fullmatch(r"\w[\w.-]*", text) and len(text) <= NAME and len(text.encode("utf-8", "replace")) <= LONGEST):
        shown = repr(text) if len(text) <= 2 * NAME else repr(text[: 2 * NAME]) + "..."
        raise ConfigError(
            f"{key} = {printed(shown)}: must be a name of at most {NAME} letters, digits, _, . and -, "
            f"which begins with a letter, a digit or _"
        )
    return text


def _encodes(text: str) -> bool:
    try:
        os.fsencode(text)
        return True
    except UnicodeEncodeError:
        return False


def below(root: Path, name: str) -> Path:
    """The path below ``root`` for a name from data, with ``/`` between folders; every part becomes a safe name.

    Raises:
        OSError: a folder on the way is a symbolic link, which may lead elsewhere.
    """
    path = root
    *folders, last = name.split("/")
    for folder in folders:
        path = path / safe_name(folder)
        if path.is_symlink():
            raise OSError(f"{printed(path)}: is a symbolic link; nothing is written through it")
    return path / safe_name(last)


def escape_name(name: str) -> str:
    """A file name as our tables store it, in valid UTF-8: other bytes are \\xNN, a backslash before an x is \\x5c.

    Different names stay different, and ``unescape_name`` returns the original name.
    """
    raw = os.fsencode(name)
    if os.sep == "/":  # on Windows a backslash separates folders, and names are Unicode
        raw = raw.replace(b"\\x", b"\\x5cx")
    return raw.decode("utf-8", "backslashreplace")


def unescape_name(name: str) -> str:
    """The file name from which ``escape_name`` made this one."""
    if os.sep != "/":
        return name
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), name.encode()))


def printed(text: object) -> str:
    """A name or message in a form that is safe to print on a terminal, in a log or a report, and to write as UTF-8.

    Control characters (except line ends), direction marks and bytes that are not UTF-8 are escaped.
    """
    # A lone surrogate, which JSON and YAML can hold, cannot be encoded.
    encodable = re.sub(r"[\ud800-\udc7f\udd00-\udfff]", _escape, str(text))
    plain = encodable.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", _escape, plain)


def printed_line(text: object) -> str:
    """As ``printed``, for text that must stay on one line: line ends and tabs are escaped too."""
    return re.sub(r"[\t\n]", _escape, printed(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


# Sealed JSON, which a later run can trust


def seal(data: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with the sha256 of its content under ``sealed``; keys and values become JSON's types."""
    plain = json.loads(json.dumps(data, default=str))
    return plain | {"sealed": _digest(_canonical.encode(plain))}


def sealed_line(data: dict[str, Any]) -> bytes:
    """``seal(data)`` as a line of JSON, made in one pass; keys must be text."""
    text = _canonical.encode(data)
    return f'{text[:-1]}{"," * bool(data)}"sealed":"{_digest(text)}"}}\n'.encode()


def unseal(text: str | bytes) -> dict[str, Any] | None:
    """The object in a JSON text that ``seal`` made, without the seal; None if the text is damaged or not sealed."""
    try:
        data = json.loads(text)
        mark = data.pop("sealed")
        return data if mark == _digest(_canonical.encode(data)) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
"""One text for one content."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
