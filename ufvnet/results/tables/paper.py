"""The paper's Tables I-IV as data: which columns they have and what they print (docs/method.md section 7)."""

from __future__ import annotations

from dataclasses import dataclass

Numbers = tuple[float, float]
"""PSNR in dB and SSIM."""


@dataclass(frozen=True)
class Column:
    """trained: view of CelebA trained on. tested: view tested on. place: 0 for CelebA, 1 for Helen."""

    trained: str
    tested: str
    place: int

    @property
    def paper(self) -> str:
        return f"{('CelebA', 'Helen')[self.place]}-{self.tested}"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: method -> the numbers of its columns."""

    number: str
    title: str
    columns: tuple[Column, ...]
    rows: dict[str, tuple[Numbers, ...]]


MR8 = (Column("MR8", "MR8", 0), Column("MR8", "MR8", 1))
MR7 = (Column("MR7", "MR7", 0), Column("MR7", "MR7", 1))
MR8_AND_MR3 = (*MR8, Column("MR3", "MR8", 0), Column("MR3", "MR8", 1))

_BICUBIC = ((27.71, 0.7853), (28.21, 0.8238))
_ONESRG = ((29.20, 0.8201), (29.34, 0.8406), (28.73, 0.8112), (28.90, 0.8325))
_UFVNET = ((29.46, 0.8321), (29.49, 0.8446), (29.16, 0.8241), (29.46, 0.8453))
_KDFSRNET = ((26.49, 0.7672), (26.83, 0.8041))

TABLES = (
    PaperTable("1", "UFVNet and methods with fixed-resolution input", MR8, {
        "bicubic": _BICUBIC,
        "dic": ((26.50, 0.7604), (25.99, 0.7654)),
        "sisn": ((27.45, 0.7763), (27.63, 0.8067)),
        "wipa": ((26.75, 0.7624), (27.11, 0.7994)),
        "mlgdn": ((26.39, 0.7569), (25.76, 0.7565)),
        "ufvnet": _UFVNET[:2],
    }),
    PaperTable("2", "UFVNet and methods with original-resolution input", MR8_AND_MR3, {
        "bicubic": _BICUBIC * 2,
        "sparnet": _ONESRG,
        "eipnet": ((25.11, 0.7152), (24.84, 0.7303), (24.89, 0.7073), (24.59, 0.7243)),
        "kdfsrnet": _KDFSRNET * 2,
        "ufvnet": _UFVNET,
    }),
    PaperTable("3", "UFVNet and scale-arbitrary methods", MR7, {
        "bicubic": ((28.75, 0.8231), (29.03, 0.8464)),
        "arbsr": ((28.77, 0.8540), (28.82, 0.8633)),
        "liif": ((29.90, 0.8449), (30.13, 0.8553)),
        "ufvnet": ((30.43, 0.8606), (30.48, 0.8663)),
    }),
    PaperTable("4", "Variants of UFVNet", MR8_AND_MR3, {
        "ufvnet-nw": ((29.25, 0.8299), (29.19, 0.8410), (28.89, 0.8161), (29.13, 0.8378)),
        "ufvnet-fm": ((29.35, 0.8310), (29.45, 0.8320), (24.27, 0.7612), (24.21, 0.7820)),
        "onesrg": _ONESRG,
        "twosrg": ((29.40, 0.8283), (29.46, 0.8430), (28.80, 0.8137), (29.04, 0.8342)),
        "foursrg": ((29.48, 0.8317), (29.51, 0.8436), (28.64, 0.8136), (28.71, 0.8346)),
        "ufvnet": _UFVNET,
    }),
)  # fmt: skip

SAME_NETWORK = {"sparnet": "onesrg", "onesrg": "sparnet"}
"""Two names of one network: a row of either is filled by whichever was trained."""
