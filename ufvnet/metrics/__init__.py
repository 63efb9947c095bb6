"""PSNR, SSIM, protocols and paired comparison."""

from .bootstrap import Difference, differences, mean_interval, paired_difference
from .protocols import PRIMARY, PROTOCOLS, score
from .psnr_ssim import luma, psnr, ssim

__all__ = [
    "PRIMARY", "PROTOCOLS", "Difference", "differences", "luma", "mean_interval", "paired_difference", "psnr", "score",
    "ssim",
]  # fmt: skip
