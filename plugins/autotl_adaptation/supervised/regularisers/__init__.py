"""What keeps fine-tuning from forgetting or overfitting, one file each; options of fine-tuning."""

from autotl.adapt import Layers, Recipe, Term
from autotl.specs import AdaptationTask
from autotl_adaptation.tuning import selection

NAMES = ("none", "l2_sp", "bss", "delta", "stoch_norm", "co_tuning")
WITH_STRENGTH = ("l2_sp", "bss", "delta", "co_tuning")


def regularised(task: AdaptationTask) -> Recipe:
    """Return how a task's params say that its layers train."""
    name = task.params.get("regulariser", "none")
    strength = task.params.get("regulariser_strength", 1.0)
    select = selection(task.params)
    terms: list[Term] = []
    prepare = None
    if name == "l2_sp":
        from autotl_adaptation.supervised.regularisers.l2_sp import StartingPoint

        terms = [StartingPoint(strength)]
    elif name == "bss":
        from autotl_adaptation.supervised.regularisers.bss import SpectralShrinkage

        terms = [SpectralShrinkage(strength)]
    elif name == "delta":
        from autotl_adaptation.supervised.regularisers.delta import FeatureMaps

        terms = [FeatureMaps(strength)]
    elif name == "co_tuning":
        from autotl_adaptation.supervised.regularisers.co_tuning import CoTuning

        terms = [CoTuning(strength)]
    elif name == "stoch_norm":
        from autotl_adaptation.supervised.regularisers.stoch_norm import mix_statistics

        prepare = mix_statistics
    return Recipe(layers=Layers(select=select, prepare=prepare), terms=terms)
