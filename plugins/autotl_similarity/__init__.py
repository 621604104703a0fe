"""First-party similarity measures, one file each."""

from collections.abc import Callable, Iterator
from functools import partial

import autotl
from autotl.specs import DomainSample


def _compare(target: str, one: DomainSample, other: DomainSample) -> float:
    from importlib import import_module

    module, _, function = target.partition(":")
    return float(getattr(import_module(f"autotl_similarity.{module}"), function)(one, other))


def _measure(target: str) -> Callable[[DomainSample, DomainSample], float]:
    """Return the function at "module:attribute", imported only when it is called."""
    return partial(_compare, target)


@autotl.hookimpl
def autotl_similarities() -> Iterator[autotl.SimilaritySpec]:
    """Describe the measures: those that manage without source data first, texts last."""
    yield from _of_moments()
    yield from _of_samples()
    yield from _of_labelled_samples()
    yield from _of_texts()


def _of_moments() -> Iterator[autotl.SimilaritySpec]:
    yield autotl.SimilaritySpec(
        name="batch_norm_kl",
        summary="Divergence of the target from the running statistics of the batch norms.",
        reference="Ishii and Sugiyama, Source-free Domain Adaptation via Distributional "
        "Alignment by Matching Batch Normalization Statistics, 2021",
        compute=_measure("batch_norm_kl:batch_norm_kl"),
        greater_is_closer=False,
        needs="layers",
    )
    yield autotl.SimilaritySpec(
        name="frechet",
        summary="Squared Fréchet distance of two Gaussians as a share of their variance, 0 to 4.",
        reference="Dowson and Landau, The Fréchet Distance between Multivariate Normal "
        "Distributions, Journal of Multivariate Analysis 1982",
        compute=_measure("frechet:frechet"),
        greater_is_closer=False,
        needs="moments",
    )
    yield autotl.SimilaritySpec(
        name="gaussian_kl",
        summary="Nats per dimension that a Gaussian of the source wastes on the target.",
        reference="Kullback and Leibler, On Information and Sufficiency, 1951",
        compute=_measure("gaussian_kl:gaussian_kl"),
        greater_is_closer=False,
        symmetric=False,
        needs="moments",
    )
    yield autotl.SimilaritySpec(
        name="coral",
        summary="Squared difference of the covariances.",
        reference="Sun and Saenko, Deep CORAL, ECCV Workshops 2016",
        compute=_measure("coral:coral"),
        greater_is_closer=False,
        needs="moments",
    )


def _of_samples() -> Iterator[autotl.SimilaritySpec]:
    yield autotl.SimilaritySpec(
        name="proxy_a_distance",
        summary="How well a linear classifier tells the domains apart, 0 to 2.",
        reference="Ben-David et al., Analysis of Representations for Domain Adaptation, NIPS 2006",
        compute=_measure("proxy_a_distance:proxy_a_distance"),
        greater_is_closer=False,
    )
    yield autotl.SimilaritySpec(
        name="mmd",
        summary="Unbiased squared maximum mean discrepancy under a mixture of RBF kernels.",
        reference="Gretton et al., A Kernel Two-Sample Test, JMLR 2012",
        compute=_measure("mmd:mmd"),
        greater_is_closer=False,
    )
    yield autotl.SimilaritySpec(
        name="mmd_p_value",
        summary="Chance of at least this MMD if both domains were the same.",
        reference="Gretton et al., A Kernel Two-Sample Test, JMLR 2012",
        compute=_measure("mmd:mmd_p_value"),
        greater_is_closer=True,
    )


def _of_labelled_samples() -> Iterator[autotl.SimilaritySpec]:
    yield autotl.SimilaritySpec(
        name="class_emd",
        summary="exp(-0.01 d), d being the earth mover's distance between the class means.",
        reference="Cui et al., Large Scale Fine-Grained Categorization and Domain-Specific "
        "Transfer Learning, CVPR 2018",
        compute=_measure("class_emd:class_emd"),
        greater_is_closer=True,
        needs="labels",
    )
    yield autotl.SimilaritySpec(
        name="otdd",
        summary="Cost of carrying labelled samples over, classes being Gaussians.",
        reference="Alvarez-Melis and Fusi, Geometric Dataset Distances via Optimal Transport, "
        "NeurIPS 2020",
        compute=_measure("otdd:otdd"),
        greater_is_closer=False,
        needs="labels",
    )


def _of_texts() -> Iterator[autotl.SimilaritySpec]:
    yield autotl.SimilaritySpec(
        name="word_js",
        summary="Jensen-Shannon divergence of the word frequencies in bits, 0 to 1.",
        reference="Lin, Divergence Measures Based on the Shannon Entropy, IEEE Transactions on "
        "Information Theory 1991",
        compute=_measure("words:word_js"),
        greater_is_closer=False,
        needs="texts",
    )
    yield autotl.SimilaritySpec(
        name="vocabulary_overlap",
        summary="Share of the target's words among the 10,000 most frequent of the source.",
        reference="Kashyap et al., Domain Divergences: a Survey and Empirical Analysis, "
        "NAACL 2021",
        compute=_measure("words:vocabulary_overlap"),
        greater_is_closer=True,
        symmetric=False,
        needs="texts",
    )
