"""Distil `embedded/sentences`, a transformer of two layers, from all-MiniLM-L6-v2.

Command: `python benchmarks/pretrain/sentences.py --seed 0`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import WEIGHTS, ZOO, update_manifest
from distil import Distillation, Recipe
from fingerprint import add_fingerprint
from passages import lessons
from students import student_of, vocabulary
from teacher import prune_tokenizer, teacher_folder
from torch import nn

from autotl_embedded.quantised import quantise
from autotl_embedded.sentences import MAX_TOKENS, from_folder
from autotl_embedded.tokens import Tokens

N_TEXTS = 114_688
N_HELD_OUT = 2_000
N_TOKENS = 16_500
N_FACTORS = 256
N_HIDDEN = 1024
LAYERS = (0, 5)


def save(student: nn.Module, folder: Path) -> int:
    """Write int8 matrices with a scale a row and return the bytes of the folder."""
    from safetensors.torch import save_file

    path = folder / "model.safetensors"
    save_file(quantise(student.state_dict()), path)
    path.chmod(0o644)
    return sum(p.stat().st_size for p in (path, folder / "tokenizer.json"))


def main() -> None:
    """Encode, distil and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", type=int, default=N_TEXTS, help="how many to learn from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=600.0, help="end early, after so long")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    source, folder = teacher_folder(), arguments.out / "sentences"
    work = arguments.work / f"sentences-{arguments.seed}"
    drawn, targets, words, of_words = lessons(
        arguments.zoo, arguments.work, arguments.seed, arguments.texts
    )
    tokens = vocabulary(source, drawn, N_TOKENS)
    prune_tokenizer(source, folder, tokens, around=True)
    student = student_of(
        source,
        tokens,
        drawn[:256],
        layers=LAYERS,
        n_hidden=N_HIDDEN,
        n_factors=N_FACTORS,
    )
    # The last of the drawn texts are held out.
    rows = Tokens(folder, MAX_TOKENS).rows(words + drawn)
    run = Distillation(
        student,
        rows,
        torch.cat([of_words, targets]),
        N_HELD_OUT,
        Recipe(n_epochs=arguments.epochs, limit_seconds=arguments.minutes * 60.0),
        arguments.seed,
    )
    size = save(run.run(work / "student.pt"), folder)
    run.average = from_folder(folder).to(run.where)
    update_manifest(arguments.out)
    print(f"sentences {size} bytes, held-out cosine as stored {run.report():.4f}")
    add_fingerprint(arguments.out, "sentences", drawn[-N_HELD_OUT:])


if __name__ == "__main__":
    main()
