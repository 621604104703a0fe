"""Train `embedded/glyphs` on characters rendered from the fonts of this machine.

Command: `python benchmarks/pretrain/glyphs.py --out plugins/autotl_embedded/weights --seed 0`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import (
    WEIGHTS,
    ZOO,
    Recipe,
    classifier,
    embed,
    probe,
    probe_digits,
    save_weights,
    sklearn_digits,
    train,
    zoo_images,
)
from torch import Tensor, nn
from torch.nn import functional

from autotl_embedded.convnet import ConvNet
from autotl_embedded.loading import GLYPHS_ARCHITECTURE
from autotl_embedded.preprocessing import GLYPH_SIZE, preprocess_glyphs, standardise_glyphs

BASE_SIZE = 48
FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))

# Upper and lower case that differ in size only are one class, as are 0, O and o.
_TWINS = "CcKkPpSsUuVvWwXxZz"
_LATIN = "123456789ABDEFGHIJLMNQRTYabdefghijlmnqrty"
_OTHERS = "&@#$%?!+=<>()[]{}~/^*€£§"
_GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπρσφψω"
_CYRILLIC = "БГДЖЗИЙЛПУФЦЧЩЫЭЮЯбвгджзилцчщыэюя"
CLASSES: tuple[str, ...] = (
    "0Oo",
    *_LATIN,
    *(_TWINS[i : i + 2] for i in range(0, len(_TWINS), 2)),
    *_OTHERS,
    *_GREEK,
    *_CYRILLIC,
)
_DIGIT_WEIGHT = 4.0
_LATIN_WEIGHT = 2.0
# The sizes to which images are shrunk and enlarged again; GLYPH_SIZE leaves them alone.
_RESOLUTIONS = (6, 8, 8, 8, 8, 10, 12, 16, 20, 24, GLYPH_SIZE, GLYPH_SIZE)


def find_fonts() -> list[Path]:
    """List the scalable fonts of this machine, or matplotlib's where it has few."""
    fonts = {p.name: p for root in FONT_FOLDERS for p in sorted(root.rglob("*.[ot]tf"))}
    if len(fonts) < 20:
        import matplotlib

        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        fonts.update({p.name: p for p in sorted(folder.glob("*.ttf"))})
    return [fonts[name] for name in sorted(fonts)]


def render(path: Path, size: int = 64) -> list[tuple[np.ndarray, int, str]]:
    """Render every class that a font has as a bitmap of shape (48, 48) with its label."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(path), size)

    def draw(text: str) -> Image.Image | None:
        canvas = Image.new("L", (4 * size, 4 * size), 0)
        ImageDraw.Draw(canvas).text((size, size), text, 255, font=font)
        box = canvas.getbbox()
        return canvas.crop(box) if box else None

    missing = draw("\uffff")
    found = []
    for label, characters in enumerate(CLASSES):
        for character in characters:
            image = draw(character)
            if image is None or (missing is not None and image.tobytes() == missing.tobytes()):
                continue
            # The longer side fills two thirds of the canvas, which leaves room for warps.
            scale = 32.0 / max(image.size)
            shape = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
            canvas = Image.new("L", (BASE_SIZE, BASE_SIZE), 0)
            resized = image.resize(shape, Image.Resampling.BOX)
            canvas.paste(resized, ((BASE_SIZE - shape[0]) // 2, (BASE_SIZE - shape[1]) // 2))
            found.append((np.asarray(canvas), label, character))
    return found


def glyph_bank(work: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return bitmaps (n, 48, 48), labels (n,) and sampling weights (n,), rendered once."""
    cache = work / "glyphs.npz"
    if not cache.exists():
        rows: list[tuple[np.ndarray, int, str]] = []
        for path in find_fonts():
            try:
                rows += render(path)
            except OSError as error:
                print(f"skipped {path.name}: {error}", flush=True)
        work.mkdir(parents=True, exist_ok=True)
        images = np.stack([row[0] for row in rows])
        labels = np.array([row[1] for row in rows])
        np.savez(cache, images=images, labels=labels, text=np.array([row[2] for row in rows]))
    content = np.load(cache)
    labels = content["labels"]
    counts = np.bincount(labels, minlength=len(CLASSES)).clip(1)
    kind = np.ones(len(CLASSES))
    for label, characters in enumerate(CLASSES):
        if characters[0].isdigit():
            kind[label] = _DIGIT_WEIGHT
        elif characters[0].isascii() and characters[0].isalpha():
            kind[label] = _LATIN_WEIGHT
    # A class with glyphs from few fonts is drawn less often, but not in proportion.
    weights = (kind * counts**0.5 / counts)[labels]
    return torch.from_numpy(content["images"]), torch.from_numpy(labels), torch.from_numpy(weights)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _strokes(x: Tensor, generator: torch.Generator) -> Tensor:
    """Make strokes thinner or thicker by up to two pixels of the 48."""
    n = len(x)
    thick = functional.max_pool2d(x, 3, 1, 1)
    thicker = functional.max_pool2d(thick, 3, 1, 1)
    thin = -functional.max_pool2d(-x, 3, 1, 1)
    kind = torch.randint(0, 6, (n,), generator=generator).view(-1, 1, 1, 1)
    # Eroding a thin stroke would erase it.
    erodible = (thin.sum((1, 2, 3)) > 0.45 * x.sum((1, 2, 3))).view(-1, 1, 1, 1)
    out = torch.where(kind == 0, thick, x)
    out = torch.where(kind == 1, thicker, out)
    out = torch.where((kind >= 4) & erodible, thin, out)
    share = _uniform(n, 0.3, 1.0, generator).view(-1, 1, 1, 1)
    return x + (out - x) * share


def _warp(x: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random affine map and a smooth random displacement, at 32x32."""
    n = len(x)
    angle = torch.randn(n, generator=generator) * 0.16
    shear = torch.randn(n, generator=generator) * 0.22
    # A scale of 2/3 lets the longer side fill the canvas, a larger one shrinks the glyph.
    size = 2.0 / 3.0 * torch.exp(_uniform(n, -0.12, 0.55, generator).square().mul(2.2) - 0.08)
    stretch = torch.exp(torch.randn(n, generator=generator) * 0.16)
    cos, sin = torch.cos(angle), torch.sin(angle)
    sx, sy = size * stretch, size / stretch
    top = torch.stack([cos * sx, (shear * cos - sin) * sy], 1)
    bottom = torch.stack([sin * sx, (shear * sin + cos) * sy], 1)
    shift = torch.randn(n, 2, 1, generator=generator) * 0.06
    theta = torch.cat([torch.stack([top, bottom], 1), shift], 2)
    grid = functional.affine_grid(theta, [n, 1, GLYPH_SIZE, GLYPH_SIZE], align_corners=False)
    knots = 3 + int(torch.randint(0, 4, (1,), generator=generator))
    noise = torch.randn(n, 2, knots, knots, generator=generator)
    amount = (_uniform(n, 0.0, 1.0, generator).square() * 0.14).view(-1, 1, 1, 1)
    field = functional.interpolate(
        noise, (GLYPH_SIZE, GLYPH_SIZE), mode="bicubic", align_corners=True
    )
    grid = grid + (field * amount).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def _shrink(x: Tensor) -> Tensor:
    """Shrink each twelfth of a batch to another resolution and enlarge it again."""
    parts = []
    for size, part in zip(_RESOLUTIONS, x.chunk(len(_RESOLUTIONS)), strict=False):
        small = functional.interpolate(part, (size, size), mode="area")
        parts.append(functional.interpolate(small, (GLYPH_SIZE, GLYPH_SIZE), mode="bilinear"))
    return torch.cat(parts)


def _picture(x: Tensor, generator: torch.Generator) -> Tensor:
    """Add contrast, a soft background and noise to some of the images."""
    n = len(x)
    level = torch.exp(torch.randn(n, 1, 1, 1, generator=generator) * 0.35)
    x = x.clamp(0.0, 1.0).pow(level)
    coarse = torch.rand(n, 1, 4, 4, generator=generator)
    ground = functional.interpolate(coarse, (GLYPH_SIZE, GLYPH_SIZE), mode="bilinear")
    share = (_uniform(n, -1.2, 0.6, generator).clamp_min(0.0)).view(-1, 1, 1, 1)
    x = x * (1.0 - share) + ground * share
    amount = _uniform(n, -0.2, 0.12, generator).clamp_min(0.0).view(-1, 1, 1, 1)
    return x + torch.randn(x.shape, generator=generator) * amount


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn bitmaps of shape (n, 1, 48, 48) into network inputs (n, 1, 32, 32)."""
    x = _warp(_strokes(x, generator), generator)
    x = _picture(_shrink(x), generator)
    inverted = torch.rand(len(x), generator=generator) < 0.04
    # Polarity is settled by `standardise_glyphs`; a few errors of it are trained on.
    x = standardise_glyphs(x)
    return torch.where(inverted.view(-1, 1, 1, 1), -x, x)


def evaluate(net: nn.Module, zoo: Path, *, full: bool) -> str:
    """Describe the probes of a network on scikit-learn's digits and, if full, the zoo."""
    images, labels = sklearn_digits()
    scores = probe_digits(embed(net, preprocess_glyphs(images)), labels)
    text = f"digits10 {np.mean(scores):.4f} [{min(scores):.3f}, {max(scores):.3f}]"
    names = ("omniglot100", "da_digits_mnist", "da_digits_usps", "da_digits_mnistm")
    for name in names if full and zoo.exists() else ():
        parts = []
        for split in ("train", "test"):
            pictures, y = zoo_images(zoo, name, split)
            parts += [embed(net, preprocess_glyphs(pictures)), y]
        text += f" {name} {probe(*parts):.3f}"
    return text


def main() -> None:
    """Render, train, evaluate and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--minutes", type=float, default=30.0, help="end earlier than --steps")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    images, labels, weights = glyph_bank(arguments.work)
    print(f"{len(images)} glyphs of {len(CLASSES)} classes", flush=True)
    recipe = Recipe(n_steps=arguments.steps, limit_seconds=60.0 * arguments.minutes)

    def batches(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.multinomial(weights, recipe.batch_size, True, generator=generator)
        x = images[rows].unsqueeze(1).float() / 255.0
        return augment(x, generator), labels[rows]

    model = train(
        classifier(ConvNet(**GLYPHS_ARCHITECTURE), len(CLASSES)),
        batches,
        recipe,
        checkpoint=arguments.work / f"glyphs-{arguments.seed}.pt",
        seed=arguments.seed,
        report=lambda ema: evaluate(ema, arguments.zoo, full=False),
        report_every=500,
    )
    path = save_weights(model, arguments.out, "glyphs")
    probes = evaluate(model[0], arguments.zoo, full=True)
    print(f"{path.name} {path.stat().st_size} bytes: {probes}")


if __name__ == "__main__":
    main()
