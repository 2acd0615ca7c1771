"""Letters drawn from matplotlib's own fonts, made to look like scikit-learn's digits.

What the small vision transformer is pre-trained on. ``load_digits`` was made from 32×32 bitmaps of
handwriting by counting the ink in each 4×4 square (0..16 in 8×8 squares; Alpaydin and Kaynak,
UCI repository, 1998). The letters take the same way: a glyph is bent, slanted and thickened like
handwriting, fitted to the bitmap's height, and its ink counted.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

__all__ = ["CLASSES", "FONTS", "LOOKALIKES", "draw_letters", "ink", "normalise"]

LOOKALIKES = {
    "0": "OoQDCc",
    "1": "IiLlJjTt",
    "2": "Zz",
    "3": "E",
    "4": "A",
    "5": "Ss",
    "6": "GbU",
    "7": "",
    "8": "B",
    "9": "gqPa",
}
"""Letters that a reader could take for the digit, some of them only when turned or hastily drawn;
none is drawn, so that pre-training has never seen a digit."""

CLASSES = ("F", "H", "Kk", "M", "N", "R", "Vv", "Ww", "Xx", "Yy", "d", "e", "f", "h", "m", "n", "r")
"""The kinds of letter; capital and small letters of one shape are one kind."""

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
"""Fonts that come with matplotlib and have Latin letters at their usual places."""

GLYPH_PIXELS = 48
BITMAP_PIXELS = 32
SQUARE_PIXELS = 4


def draw_letters(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw ``count`` letters of random kinds, fonts and hands.

    Returns:
        ``pixel_values`` of shape ``(count, 1, 8, 8)`` in −1..1 and ``labels`` of shape ``(count,)``
        that index ``CLASSES``.
    """
    generator = torch.Generator().manual_seed(seed)
    glyphs, kinds = _glyph_bank()
    chosen = torch.randint(len(glyphs), (count,), generator=generator)
    bitmaps = _to_bitmaps(_bend(glyphs[chosen], generator), generator)
    return normalise(ink(bitmaps)), kinds[chosen]


def ink(bitmaps: torch.Tensor) -> torch.Tensor:
    """Count the ink in each 4×4 square: ``(n, 32, 32)`` of 0 and 1 to ``(n, 8, 8)`` of 0..16."""
    return functional.avg_pool2d(bitmaps.unsqueeze(1), SQUARE_PIXELS).squeeze(1) * SQUARE_PIXELS**2


def normalise(ink_counts: torch.Tensor) -> torch.Tensor:
    """Turn ink counts ``(n, 8, 8)`` in 0..16 into ``pixel_values`` ``(n, 1, 8, 8)`` in −1..1."""
    return (ink_counts.float() / 8.0 - 1.0).unsqueeze(1)


@cache
def _glyph_bank() -> tuple[torch.Tensor, torch.Tensor]:
    """Every letter in every font: ``(n, 1, 48, 48)`` in 0..1, and its kind ``(n,)``."""
    glyphs, kinds = [], []
    for font in FONTS:
        for kind, letters in enumerate(CLASSES):
            for letter in letters:
                glyphs.append(_glyph(font, letter))
                kinds.append(kind)
    return torch.stack(glyphs).unsqueeze(1), torch.tensor(kinds)


def _glyph(font: str, letter: str) -> torch.Tensor:
    """One letter as large as the square ``(48, 48)`` allows, less a margin for bending."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    face = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"))
    face.set_size(64, 72)
    face.set_text(letter)
    face.draw_glyphs_to_bitmap()
    drawn = np.asarray(face.get_image(), dtype=np.float32) / 255.0
    rows, columns = np.flatnonzero(drawn.max(1)), np.flatnonzero(drawn.max(0))
    tight = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _fit(torch.from_numpy(tight.copy()))


def _fit(tight: torch.Tensor) -> torch.Tensor:
    inner = GLYPH_PIXELS * 2 // 3
    scale = inner / max(tight.shape)
    size = [max(1, round(side * scale)) for side in tight.shape]
    resized = functional.interpolate(tight[None, None], size, mode="area")[0, 0]
    top, left = ((GLYPH_PIXELS - side) // 2 for side in size)
    square = torch.zeros(GLYPH_PIXELS, GLYPH_PIXELS)
    square[top : top + size[0], left : left + size[1]] = resized
    return square


def _bend(glyphs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, slant and warp each glyph a little, and draw it with a thinner or thicker pen."""
    count = len(glyphs)
    angle, slant = _uniform(generator, count, 0.25), _uniform(generator, count, 0.35)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([cosine, slant - sine, sine, cosine], 1).reshape(count, 2, 2)
    affine = torch.cat([matrix, torch.zeros(count, 2, 1)], 2)
    grid = functional.affine_grid(affine, list(glyphs.shape), align_corners=False)
    coarse = torch.randn(count, 2, 4, 4, generator=generator) * 0.09
    warp = functional.interpolate(coarse, glyphs.shape[-2:], mode="bicubic", align_corners=True)
    bent = functional.grid_sample(glyphs, grid + warp.permute(0, 2, 3, 1), align_corners=False)
    blurred = functional.avg_pool2d(bent, 5, stride=1, padding=2)
    level = 0.35 + _uniform(generator, count, 0.2)
    return (blurred > level[:, None, None, None] * blurred.amax((2, 3), keepdim=True)).float()


def _to_bitmaps(glyphs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fit each glyph ``(n, 1, 48, 48)`` to the full height of a bitmap ``(n, 32, 32)``."""
    count = len(glyphs)
    first_row, last_row = _extent(glyphs.amax((1, 3)))
    first_column, last_column = _extent(glyphs.amax((1, 2)))
    height, width = last_row - first_row, last_column - first_column
    target = (width / height).clamp(0.35, 0.8) * (1.0 + _uniform(generator, count, 0.15))
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = width / target, height
    affine[:, 0, 2], affine[:, 1, 2] = first_column + last_column, first_row + last_row
    affine /= GLYPH_PIXELS
    affine[:, :, 2] -= 1.0
    shape = [count, 1, BITMAP_PIXELS, BITMAP_PIXELS]
    grid = functional.affine_grid(affine, shape, align_corners=False)
    return (functional.grid_sample(glyphs, grid, align_corners=False) > 0.5).float().squeeze(1)


def _extent(inked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and one past the last place with ink, in pixels, of each row of ``(n, 48)``."""
    places = torch.arange(inked.shape[1], dtype=torch.float32)
    first = torch.where(inked > 0, places, math.inf).amin(1)
    return first, torch.where(inked > 0, places, -math.inf).amax(1) + 1.0


def _uniform(generator: torch.Generator, count: int, reach: float) -> torch.Tensor:
    return (torch.rand(count, generator=generator) * 2.0 - 1.0) * reach
