"""Paths in object stores (``s3://``, ``gs://``, ``memory://``), through fsspec; every other URL is refused.

Where a configuration takes a URL, it holds a ``RemotePath``, which has those methods of ``pathlib.Path`` that reading
needs, so that the same code reads both.
"""

from __future__ import annotations

import functools
import logging
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from ufvnet.errors import ConfigError
from ufvnet.extras import require
from ufvnet.files import printed

STORES = {"s3": ("storage", "s3fs"), "gs": ("gcs", "gcsfs"), "memory": ("storage", "fsspec")}
"""For each scheme, the extra and the package of it that fsspec needs. Their own settings (AWS_ENDPOINT_URL, profiles,
...) apply."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""The beginning of a URL, also of one that was made a ``Path``, which has one slash. One letter is a Windows drive."""


def is_url(path: object) -> bool:
    """True for a text or path that begins with a scheme; False for every other value."""
    return isinstance(path, str | Path) and _SCHEME.match(str(path)) is not None


def _as_written(path: object) -> str:
    return re.sub(r":/+", "://", str(path), count=1)


def check_local(key: str, path: object) -> None:
    """Refuse a URL where only a path of this machine can be used; otherwise it would name a folder ``s3:``.

    Raises:
        ConfigError: the path is a URL.
    """
    if is_url(path):
        raise ConfigError(f"{key} = {printed(_as_written(path))}: is a URL; it must be a path of a file system")


class Status(NamedTuple):
    """What ``os.stat`` would say of an object: a regular file and its size in bytes."""

    st_size: int
    st_mode: int = stat.S_IFREG


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object, or what stands for a folder: the beginning of the names of objects.

    url: without a slash at its end. Parts of it are joined as they are: ``a//b`` is another object than ``a/b``.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The part behind the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def key(self) -> str:
        """The object's name in its bucket."""
        return self.url.split("://", 1)[1].partition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name, e.g. ``.jpg``."""
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder it lies in."""
        return RemotePath(self.url.rpartition("/")[0])

    def absolute(self) -> RemotePath:
        """The path itself."""
        return self

    def is_symlink(self) -> bool:
        """False: stores have no links."""
        return False

    def exists(self) -> bool:
        """True if it is an object, or a folder of some.

        Raises:
            OSError: as every method that asks the store: it does not answer, or refuses.
        """
        with self._errors():
            return bool(self._store.exists(self.url))

    def is_file(self) -> bool:
        """True if it is an object."""
        with self._errors():
            return bool(self._store.isfile(self.url))

    def is_dir(self) -> bool:
        """True if names of objects begin with it."""
        with self._errors():
            return bool(self._store.isdir(self.url))

    def stat(self) -> Status:
        """The object's size."""
        with self._errors():
            return Status(int(self._store.size(self.url)))

    def files(self, recursive: bool = True) -> list[RemotePath]:
        """The objects below this one, by name, a request per thousand; those with hidden parts in their names are left
        out."""
        with self._errors():
            keys = self._store.find(self.url, maxdepth=None if recursive else 1)
        start = self.url.split("://", 1)[1].strip("/") + "/"
        below = (key.lstrip("/") for key in keys)
        names = (key.removeprefix(start) for key in below if key.startswith(start))
        return [self / name for name in sorted(names) if not re.search(r"(^|/)\.", name)]

    def glob(self, pattern: str) -> list[RemotePath]:
        """What fits a pattern, by name."""
        with self._errors():
            found = self._store.glob(f"{self.url}/{pattern}")
        scheme = self.url.split("://")[0]
        logging.getLogger(STORES[scheme][1]).setLevel(logging.CRITICAL)  # what it would tell is raised as well
        return [RemotePath(f"{scheme}://{key.strip('/')}") for key in sorted(found)]

    def name_below(self, root: RemotePath) -> str:
        """Its name below a folder, ``/`` between the parts."""
        return self.url.removeprefix(f"{root.url}/")

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """The object as a file, read or written in parts."""
        with self._errors(), self._store.open(self.url, mode) as file:
            yield file

    def read_bytes(self) -> bytes:
        """The object's bytes."""
        with self.open() as file:
            return file.read()

    def write_bytes(self, content: bytes) -> None:
        """Write the object. Stores show it when it is complete."""
        with self._errors():
            self._store.pipe_file(self.url, content)

    def upload(self, file: Path) -> None:
        """Write the object with the content of a local file."""
        with self._errors():
            self._store.put_file(str(file), self.url)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        with self._errors():
            try:
                self._store.rm_file(self.url)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    @property
    def _store(self) -> Any:
        import fsspec

        scheme = self.url.split("://")[0]
        # A listing that is kept would not show what others have written since.
        return fsspec.filesystem(scheme, use_listings_cache=False, **_retries(scheme))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what libraries of stores raise into OSError, as for every other file. Its message names no path."""
        try:
            yield
        except (OSError, ValueError, MemoryError):
            raise
        except Exception as error:
            reason = re.sub(r"\?[^\s\"']*", "", " ".join(str(error).split()))[:300]  # without what URLs ask for
            raise OSError(reason or type(error).__name__) from error


@functools.cache
def _retries(scheme: str) -> dict[str, Any]:
    """Settings under which S3 is asked three times, within about two seconds, where nobody has chosen another way.

    Its clients' old default asks five times and doubles its pauses: a wrong address was noticed after ten seconds and
    more. An overloaded store is still asked again by s3fs itself.
    """
    if scheme != "s3":
        return {}
    import botocore.session
    from fsspec.config import conf

    chosen = dict(conf.get(scheme, {}).get("config_kwargs", {}))
    if botocore.session.get_session().get_config_variable("retry_mode") == "legacy":  # the default
        chosen.setdefault("retries", {"mode": "standard"})
    return {"config_kwargs": chosen}


AnyPath = Path | RemotePath
"""A path of a file system, or in an object store."""


def path_or_url(value: str | Path) -> AnyPath:
    """A local path, or the path in a store that a URL names.

    Raises:
        ConfigError: the URL's scheme is none of STORES, it names no bucket, it names credentials, or the package for it
            is not installed.
    """
    match = _SCHEME.match(str(value))
    if match is None:
        return Path(value)
    url, scheme = _as_written(value), match[1].lower()
    if scheme not in STORES:
        schemes = ", ".join(f"{name}://" for name in STORES if name != "memory")  # which ends with its process
        raise ConfigError(f"{scheme}:// is not supported; it must be a path of a file system, or one of {schemes}")
    bucket = url.partition("://")[2].strip("/")
    if not bucket:
        raise ConfigError("names no bucket")
    if "@" in bucket.partition("/")[0]:
        raise ConfigError("names credentials; they belong into the environment or a profile")
    extra, package = STORES[scheme]
    require(extra, f"{scheme}://", package)
    return RemotePath(f"{scheme}://{url.partition('://')[2].rstrip('/')}")
