"""First-party transferability scores, one file each."""

from collections.abc import Callable, Iterator

import autotl
from autotl.specs import ScoreInput


def _from(module: str) -> Callable[[ScoreInput], float]:
    """Return the `compute` of a module of this package, which is imported at the first call."""

    def compute(given: ScoreInput) -> float:
        from importlib import import_module

        return float(import_module(f"autotl_scores.{module}").compute(given))

    return compute


@autotl.hookimpl
def autotl_scores() -> Iterator[autotl.ScoreSpec]:
    """Describe the scores, those of features alone first."""
    yield autotl.ScoreSpec(
        name="knn_loo",
        summary="Leave-one-out accuracy of the nearest neighbour by cosine.",
        reference="Cover and Hart, Nearest Neighbor Pattern Classification, 1967",
        compute=_from("knn_loo"),
    )
    yield autotl.ScoreSpec(
        name="ridge_loo",
        summary="Exact leave-one-out accuracy of ridge on one-hot labels, at the best strength.",
        reference="Allen, The Relationship between Variable Selection and Data Augmentation "
        "and a Method for Prediction, Technometrics 1974",
        compute=_from("ridge_loo"),
    )
    yield autotl.ScoreSpec(
        name="logme",
        summary="Evidence per sample of Bayesian linear regression on one-hot labels, at any "
        "number of samples, of features scaled to root mean square one.",
        reference="You et al., LogME: Practical Assessment of Pre-trained Models for Transfer "
        "Learning, ICML 2021",
        compute=_from("logme"),
    )
    yield autotl.ScoreSpec(
        name="h_score",
        summary="Variance between classes over the Ledoit-Wolf estimate of all variance.",
        reference="Ibrahim et al., Newer is Not Always Better: Rethinking Transferability "
        "Metrics, Their Peculiarities, Stability and Performance, ECML 2022",
        compute=_from("h_score"),
    )
    yield autotl.ScoreSpec(
        name="gbc",
        summary="Overlap of classes as exact spherical Gaussians in the leading 64 components.",
        reference="Pandy et al., Transferability Estimation using Bhattacharyya Class "
        "Separability, CVPR 2022",
        compute=_from("gbc"),
    )
    yield autotl.ScoreSpec(
        name="parc",
        summary="Rank correlation of pairwise distances between features and between labels, "
        "on at most 500 samples, without principal components.",
        reference="Bolya et al., Scalable Diverse Model Selection for Accessible Transfer "
        "Learning, NeurIPS 2021",
        compute=_from("parc"),
    )
    yield autotl.ScoreSpec(
        name="nleep",
        summary="LEEP of the posteriors of a diagonal Gaussian mixture with five components per "
        "class, in the components that hold 80 % of the variance.",
        reference="Li et al., Ranking Neural Checkpoints, CVPR 2021",
        compute=_from("nleep"),
    )
    yield autotl.ScoreSpec(
        name="leep",
        summary="Mean log-likelihood of labels given the source head's probabilities.",
        reference="Nguyen et al., LEEP: A New Measure to Evaluate Transferability of Learned "
        "Representations, ICML 2020",
        compute=_from("leep"),
        needs=frozenset({"source_probs"}),
    )
    yield autotl.ScoreSpec(
        name="nce",
        summary="Negative conditional entropy of labels given the source head's classes, nats.",
        reference="Tran et al., Transferability and Hardness of Supervised Classification Tasks, "
        "ICCV 2019",
        compute=_from("nce"),
        needs=frozenset({"source_probs"}),
    )
