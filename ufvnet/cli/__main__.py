"""``python -m ufvnet.cli`` is the ``ufvnet`` command."""

from . import entry

if __name__ == "__main__":
    entry()
