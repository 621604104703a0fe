"""Peak resident memory of extracting features, against the number of images.

    python benchmarks/perf/memory.py --zoo ../shared/zoo --out memory.json
    python benchmarks/perf/memory.py --zoo ../shared/zoo --out memory.json --run 5m

Every number of images has a process of its own, which reads them from JPEG files, embeds them and
keeps embeddings and the activations at one cut on disk. Above the size of a shard the peak must be
flat. `--run` also measures a whole search over the largest number, which must stay under 3 GB.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from machine import describe

SIZES = (1000, 5000, 10_000, 25_000, 50_000)
N_CLASSES = 5
SIDE = 96
CACHE_BYTES = 20 * 10**9
FLAT = 1.1  # greatest peak over the peak at the smallest size whose activations fill a shard
SHARD_BYTES = 64 * 2**20
RUN_BAR = 3e9


def main() -> None:
    """Measure each size in a process of its own, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True, help="folder of the test zoo")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--backbone", default="embedded/natural-base")
    parser.add_argument("--run", metavar="TIME", help="also search the largest, within this time")
    parser.add_argument("--folder", type=Path, help="keep the images here, or find them here")
    parser.add_argument("--only", choices=("extract", "search"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps({"extract": extract, "search": search}[args.only](args)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch, "images")
        write_images(args.zoo, folder, max(args.sizes), args.seed)
        report: dict[str, Any] = {"machine": describe(), "seed": args.seed}
        report["extraction"] = [measured(args, folder, n, "extract") for n in args.sizes]
        full = [r for r in report["extraction"] if r["cut_bytes"] >= SHARD_BYTES]
        report["shard_filled_from"] = full[0]["n_samples"] if full else None
        report["growth"] = (
            max(r["peak_bytes"] for r in full) / full[0]["peak_bytes"] if full else 0
        )
        report["bar"] = FLAT
        if args.run:
            report["run"] = measured(args, folder, max(args.sizes), "search")
            report["run_bar"] = RUN_BAR
        args.out.write_text(json.dumps(report, indent=2))
    print(f"growth from {report['shard_filled_from']} images on: {report['growth']} (bar {FLAT})")


def measured(args: argparse.Namespace, folder: Path, n_samples: int, what: str) -> dict[str, Any]:
    """Run this file in a fresh process and return what it printed last."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder)]
    command += ["--zoo", str(args.zoo), "--out", str(args.out), "--sizes", str(n_samples)]
    command += ["--backbone", args.backbone, "--seed", str(args.seed)]
    command += ["--run", args.run] if args.run else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} of {n_samples} images failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{what:8} n={n_samples:6}  peak {found['peak_bytes'] / 1e6:7.0f} MB  "
        f"{found['seconds']:6.0f} s",
        flush=True,
    )
    return found


def extract(args: argparse.Namespace) -> dict[str, Any]:
    """Embed the first images of the folder and keep one cut; returns the peak."""
    from autotl.features import ActivationStore, BackboneSession, Caching
    from autotl.registry import get_registry

    (n_samples,) = args.sizes
    registry = get_registry()
    files, y = listed(args.folder, n_samples)
    modality = registry.modalities.get("image")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        caching = Caching(
            store=ActivationStore(Path(cache), CACHE_BYTES),
            digests=[f"{args.seed} {file}" for file in files],
            y=y,
            views=0,
            demand=(0.75,),
        )
        session = BackboneSession(
            registry.backbones.get(args.backbone),
            modality.as_samples([str(file) for file in files]),
            modality,
            caching=caching,
        )
        rows = np.arange(n_samples)
        session.embed(rows)
        cut = session.kept[0]
        for _ in session.inputs(rows).batches(64, seed=args.seed, start=cut):
            pass
        entries: dict[str, int] = {}
        for file in Path(cache).glob("*/*/*.npy"):
            entry = file.relative_to(cache).parts[0]
            entries[entry] = entries.get(entry, 0) + file.stat().st_size
        return {
            "n_samples": n_samples,
            "cut": cut,
            "cut_bytes": max(entries.values()),
            "n_groups": session.n_groups,
            "peak_bytes": peak_bytes(),
            "disk_bytes": sum(entries.values()),
            "seconds": time.perf_counter() - started,
        }


def search(args: argparse.Namespace) -> dict[str, Any]:
    """Search over the whole folder; returns the peak."""
    from autotl.cli import main as autotl

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        command = ["search", str(args.folder), "--budget", args.run, "--seed", str(args.seed)]
        try:
            autotl([*command, "--out", str(Path(out, "run")), "--json"])
        except SystemExit as stop:
            if stop.code:
                raise
        result = json.loads(Path(out, "run", "result.json").read_text(encoding="utf-8"))
        return {
            "n_samples": args.sizes[0],
            "n_trials": result["n_trials"],
            "holdout": result["best"]["holdout"] if result["best"] else None,
            "peak_bytes": peak_bytes(),
            "seconds": time.perf_counter() - started,
        }


def peak_bytes() -> int:
    """Return the greatest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage on Linux would count the parent before the fork, too
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def listed(folder: Path, n_samples: int) -> tuple[list[Path], np.ndarray]:
    """Return the first files, whose classes take turns, and class codes."""
    files = sorted(folder.glob("*/*.jpg"), key=lambda file: file.stem)[:n_samples]
    if len(files) < n_samples:
        raise SystemExit(f"{folder} has {len(files)} images; {n_samples} were asked for.")
    return files, np.array([int(file.parent.name) for file in files])


def write_images(zoo: Path, folder: Path, n_samples: int, seed: int) -> None:
    """Write different cuttings of the zoo's pictures, in one folder a class."""
    from PIL import Image

    if folder.is_dir() and len(list(folder.glob("*/*.jpg"))) == n_samples:
        return
    rng = np.random.default_rng(seed)
    packed = np.load(zoo / "images" / "trashnet6.npz", allow_pickle=False)
    data, at = packed["train_jpeg_bytes"].tobytes(), packed["train_offsets"]
    by_class = [np.flatnonzero(packed["y_train"] == c) for c in range(N_CLASSES)]
    for label in range(N_CLASSES):
        Path(folder, str(label)).mkdir(parents=True, exist_ok=True)
    for i in range(n_samples):
        label = i % N_CLASSES
        row = rng.choice(by_class[label])
        image = Image.open(io.BytesIO(data[at[row] : at[row + 1]])).convert("RGB")
        left, top, right, bottom = rng.uniform(0, 0.15, 4)
        box = (left, top, 1 - right, 1 - bottom)
        pixels = [b * s for b, s in zip(box, image.size * 2, strict=True)]
        cutting = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, pixels)
        cutting.save(folder / str(label) / f"{i:06d}.jpg", quality=90)


if __name__ == "__main__":
    main()
