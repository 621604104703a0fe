"""Feature extraction against a plain timm loop written by hand, side by side.

    python benchmarks/perf/extraction.py --zoo ../shared/zoo --out extraction.json

Three sources of images: decoded tensors in memory, JPEG files with a shorter side of 1024 pixels,
and JPEG files as small as the zoo's. The plain loop opens each file, applies timm's own transform
and runs batches of 64 in inference mode. Both arms use the same network and as many threads as
torch takes, in turns; a ratio above 1 says that we are faster.
"""

import argparse
import copy
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "zoo"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from autotl_zoo.networks import mobilenetv1
from machine import describe

import autotl
from autotl.features import BackboneSession
from autotl.registry import get_registry

BATCH_SIZE = 64
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NETWORKS: dict[str, tuple[Callable[[], torch.nn.Module], int]] = {
    "mobilenetv1_025": (
        lambda: mobilenetv1(channel_multiplier=0.25, num_classes=10, pad_type="same").backbone,
        128,
    ),
    "mobilenetv2_100": (lambda: timm.create_model("mobilenetv2_100", num_classes=0), 224),
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=0), 224),
    "vit_tiny": (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0), 224),
}
BARS = {"tensors": 1.0, "large": 1.5, "small": 1.0}


def main() -> None:
    """Measure what was asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True, help="folder of the test zoo")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--n-samples", type=int, default=256)
    parser.add_argument("--sources", nargs="*", choices=BARS, default=list(BARS))
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for source in args.sources:
            files = write_files(args.zoo, Path(folder, source), source, args.n_samples, args.seed)
            for name in args.networks if source == "tensors" else args.networks[:1]:
                torch.manual_seed(args.seed)
                found.append(
                    {"source": source, "network": name} | compare(source, name, files, args)
                )
                print(line(found[-1]), flush=True)
    report = {"machine": describe(), "seed": args.seed, "results": found}
    args.out.write_text(json.dumps(report, indent=2))


def compare(source: str, name: str, files: Sequence[Path], args: Any) -> dict[str, Any]:
    """Time both arms in turns; the ratio is of the times of one turn."""
    build, side = NETWORKS[name]
    module = build().eval()
    ours, plain = arms(source, module, side, files)
    ours(), plain()  # warm up
    pairs = []
    for turn in range(args.repeats):
        order = (ours, plain) if turn % 2 else (plain, ours)
        seconds = {arm: timed(arm) for arm in order}
        pairs.append((seconds[plain], seconds[ours]))
    ratios = [p / o for p, o in pairs]
    return {
        "n_samples": len(files),
        "bytes_per_file": round(statistics.mean(f.stat().st_size for f in files)),
        "plain_seconds": statistics.median(p for p, _ in pairs),
        "our_seconds": statistics.median(o for _, o in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "bar": BARS[source],
    }


def arms(
    source: str, module: torch.nn.Module, side: int, files: Sequence[Path]
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return our arm and the plain one."""
    size = (3, side, side)
    transform = timm.data.create_transform(size, mean=HALF[0], std=HALF[1])
    modality = get_registry().modalities.get("image")
    rows = np.arange(len(files))
    own = copy.deepcopy(module)  # since ours changes the layout in memory
    spec = autotl.BackboneSpec(
        name="benchmark/network",
        modality="image",
        embed_dim=None,
        input_size=size,
        load=lambda device: autotl.LoadedBackbone(
            module=own.to(device), preprocess=autotl.image_preprocess(size, *HALF)
        ),
    )

    def open_session() -> BackboneSession:
        return BackboneSession(spec, modality.as_samples([str(f) for f in files]), modality)

    def from_files() -> None:
        open_session().embed(rows)

    def plain_from_files() -> None:
        with torch.inference_mode():
            for at in range(0, len(files), BATCH_SIZE):
                images = [Image.open(f).convert("RGB") for f in files[at : at + BATCH_SIZE]]
                module(torch.stack([transform(image) for image in images]))

    if source != "tensors":
        return from_files, plain_from_files
    session = open_session()
    session.prepare(rows)
    decoded = torch.stack([transform(Image.open(f).convert("RGB")) for f in files])

    def from_memory() -> None:
        session._done[:] = False
        session.embed(rows)

    def plain_from_memory() -> None:
        with torch.inference_mode():
            for at in range(0, len(decoded), BATCH_SIZE):
                module(decoded[at : at + BATCH_SIZE])

    return from_memory, plain_from_memory


def timed(arm: Callable[[], Any]) -> float:
    """Return the seconds that an arm takes."""
    started = time.perf_counter()
    arm()
    return time.perf_counter() - started


def write_files(zoo: Path, folder: Path, source: str, n_samples: int, seed: int) -> list[Path]:
    """Write JPEG files from pictures of the zoo, enlarged with fine texture where asked."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    packed = np.load(zoo / "images" / "trashnet6.npz", allow_pickle=False)
    data, at = packed["train_jpeg_bytes"].tobytes(), packed["train_offsets"]
    files = []
    for i in range(n_samples):
        row = i % (len(at) - 1)
        file = folder / f"{i:05d}.jpg"
        content = data[at[row] : at[row + 1]]
        file.write_bytes(content) if source != "large" else enlarged(content, rng).save(
            file, quality=90
        )
        files.append(file)
    return files


def enlarged(content: bytes, rng: np.random.Generator) -> Image.Image:
    """Return a picture with a shorter side of 1024 pixels and the grain of a camera."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = 1024 / min(image.size)
    image = image.resize([round(s * scale) for s in image.size], Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (image.height, image.width, 1)).astype(np.float32)
    pixels = np.asarray(image, np.float32) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def line(row: dict[str, Any]) -> str:
    """Return one result as text."""
    return (
        f"{row['source']:8} {row['network']:16} n={row['n_samples']} "
        f"plain {row['plain_seconds']:.2f} s  ours {row['our_seconds']:.2f} s  "
        f"ratio {row['ratio']:.2f} (bar {row['bar']})"
    )


if __name__ == "__main__":
    main()
