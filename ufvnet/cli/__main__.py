"""``python -m ufvnet.cli`` is the ``ufvnet`` command."""

from . import main

if __name__ == "__main__":
    main()
