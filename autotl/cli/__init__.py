"""The command line: parse, call the same functions a Python user calls, show the result."""

import click

from autotl import __version__
from autotl.cli.group import LazyGroup, debug_option

__all__ = ["main"]


@click.group(
    cls=LazyGroup,
    commands_table={
        "search": (
            "autotl.cli.search:search",
            "Choose and adapt a backbone for labelled data, and say whether transfer helps.",
        ),
        "rank": (
            "autotl.cli.rank:rank",
            "Order backbones by how promising they are for labelled data; nothing is trained.",
        ),
        "similarity": (
            "autotl.cli.similarity:similarity",
            "Say how close two data sets are, as one backbone sees them.",
        ),
        "resume": (
            "autotl.cli.resume:resume",
            "Go on with a search that has ended, was interrupted or was killed.",
        ),
        "predict": ("autotl.cli.predict:predict", "Predict new data with a finished run."),
        "report": ("autotl.cli.report:report", "Write a run's report again."),
        "backbones": (
            "autotl.cli.backbones:backbones",
            "List pretrained backbones and which are usable now.",
        ),
        "plugins": ("autotl.cli.plugins:plugins", "List plugins and what they bring."),
        "cache": ("autotl.cli.cache:cache", "Show or clear the activations kept on disk."),
        "experience": (
            "autotl.cli.experience:experience",
            "Show, move or forget what earlier runs left for later ones.",
        ),
        "doctor": ("autotl.cli.doctor:doctor", "Check this installation."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: autotl search sklearn:digits --labels-per-class 10 --budget 90s --out run",
)
@click.version_option(__version__, prog_name="autotl")
@debug_option
def main() -> None:
    """Transfer learning for small labelled data sets, with an honest verdict.

    autotl searches pretrained backbones and ways of adapting them within a time budget, compares
    the best with a floor that uses no transfer, and keeps whichever is better.
    """
