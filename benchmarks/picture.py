"""The picture of README: ``python -m benchmarks.picture docs/before-after.png``, by the model that restores by default.

The face is scikit-image's astronaut (NASA, public domain).
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from ufvnet import Restorer
from ufvnet.config import DEFAULT_MODEL
from ufvnet.restore.before_after import before_after


def main(file: Path) -> None:
    """Write the sheet."""
    from skimage.data import astronaut

    restorer = Restorer.load(DEFAULT_MODEL, "cpu")
    before_after(Image.fromarray(astronaut()), restorer).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
