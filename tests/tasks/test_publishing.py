"""What is published of an evaluation in Prefect's UI."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.evaluate import LARGEST_IMAGE, image_url


def test_a_figure_that_is_too_large_for_an_event_is_shown_as_a_smaller_jpeg(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    Image.fromarray(noise).save(large)
    Image.fromarray(noise[:200]).save(small)
    assert image_url(small) == "data:image/png;base64," + base64.b64encode(small.read_bytes()).decode()
    kind, text = image_url(large).split(",")
    assert kind == "data:image/jpeg;base64"
    content = base64.b64decode(text)
    assert len(content) <= LARGEST_IMAGE
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.width >= 600
