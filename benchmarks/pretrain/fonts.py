"""Find the scalable fonts of this machine and render characters with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
# Families with a file for every width and weight are taken in three weights.
_VARIANT = re.compile(r"Noto.*(Condensed|Medium|SemiBold|Extra|Thin|Black|UI|Display|Mono)")
# Characters are drawn at this size, in pixels, before they are fitted to a canvas.
_SIZE = 64


def find_fonts() -> list[Path]:
    """List the scalable fonts of this machine, or matplotlib's where it has few."""
    found = (p for root in FONT_FOLDERS for p in sorted(root.rglob("*.[ot]tf")))
    fonts = {p.name: p for p in found if not _VARIANT.match(p.name)}
    if len(fonts) < 20:
        import matplotlib

        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        fonts.update({p.name: p for p in sorted(folder.glob("*.ttf"))})
    return [fonts[name] for name in sorted(fonts)]


class Typeface:
    """One font file, which draws the `characters` that it has.

    Args:
        path: A TrueType or OpenType file.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._font = ImageFont.truetype(str(path), _SIZE, layout_engine=ImageFont.Layout.BASIC)
        with TTFont(str(path), lazy=True) as tables:
            self.characters = frozenset(map(chr, tables.getBestCmap() or {}))

    def draw(self, character: str, canvas: int, longer_side: int) -> np.ndarray | None:
        """Draw a character in the middle of a square bitmap, or return None for an empty one."""
        page = Image.new("L", (4 * _SIZE, 4 * _SIZE), 0)
        ImageDraw.Draw(page).text((_SIZE, _SIZE), character, 255, font=self._font)
        box = page.getbbox()
        if box is None:
            return None
        image = page.crop(box)
        scale = longer_side / max(image.size)
        width, height = (max(2, round(side * scale)) for side in image.size)
        out = Image.new("L", (canvas, canvas), 0)
        resized = image.resize((width, height), Image.Resampling.BOX)
        out.paste(resized, ((canvas - width) // 2, (canvas - height) // 2))
        return np.asarray(out)
