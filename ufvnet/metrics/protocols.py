"""The four protocols under which PSNR and SSIM are quoted (docs/method.md section 6)."""

from __future__ import annotations

import numpy as np

from .psnr_ssim import luma, psnr, ssim, ssim_whole_and_inside

PROTOCOLS = ("y", "rgb", "y-crop8", "y-crop8-dic")
PRIMARY = "y"
BORDER = 8
CHUNK = 4
"""Images scored at a time, so few that intermediate results stay in the processor's cache."""


def score(sr: np.ndarray, hr: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR (dB) and SSIM of each image under every protocol.

    ``y``: Y of BT.601, whole image. ``rgb``: PSNR over the three channels together, SSIM as their mean. ``y-crop8``: Y
    without a border of 8 pixels. ``y-crop8-dic``: as DIC's released code computes SSIM, where Y is rounded to uint8 and
    Y * 255 wraps round to 256 - Y.

    Args:
        sr, hr: (N, H, W, 3) uint8 RGB.

    Returns:
        ``psnr_<protocol>`` and ``ssim_<protocol>`` -> (N,) float64.

    Raises:
        ValueError: not uint8 RGB of one shape.
    """
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[3] != 3 or sr.dtype != np.uint8 or hr.dtype != np.uint8:
        raise ValueError(f"score takes two (N, H, W, 3) uint8 arrays, got {sr.dtype} {sr.shape}, {hr.dtype} {hr.shape}")
    parts = [_score(sr[i : i + CHUNK], hr[i : i + CHUNK]) for i in range(0, max(1, len(sr)), CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _score(sr: np.ndarray, hr: np.ndarray) -> dict[str, np.ndarray]:
    y_sr, y_hr = luma(sr), luma(hr)
    inside = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    dic_sr, dic_hr = (np.rint(y).astype(np.uint8) for y in (y_sr[inside], y_hr[inside]))
    ssim_y, ssim_inside = ssim_whole_and_inside(y_sr, y_hr, BORDER)
    return {
        "psnr_y": psnr(y_sr, y_hr),
        "ssim_y": ssim_y,
        "psnr_rgb": psnr(sr, hr),
        "ssim_rgb": np.mean([ssim(sr[..., c], hr[..., c]) for c in range(3)], axis=0),
        "psnr_y-crop8": psnr(y_sr[inside], y_hr[inside]),
        "ssim_y-crop8": ssim_inside,
        "psnr_y-crop8-dic": psnr(dic_sr, dic_hr),
        "ssim_y-crop8-dic": ssim(-dic_sr, -dic_hr),  # uint8: -Y wraps to 256 - Y
    }
