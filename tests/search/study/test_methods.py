import numpy as np
import pytest

from autotl.ranking import Expectation
from autotl.ranking.prior import MethodGain
from autotl.registry import get_registry
from autotl.search.study.methods import default_methods, known_methods
from autotl.search.study.posterior import MethodPrior


def expectation(gain):
    return Expectation(
        expected=0.7, spread=0.1, static=0.6, level_spread=0.05,
        methods={"lp_ft": MethodGain(gain=gain, spread=0.3, pair_spread=0.2)},
    )  # fmt: skip


@pytest.mark.parametrize("modality", ["image", "text"])
def test_what_a_benchmark_measured_is_a_variant_of_a_method_that_is_there(modality):
    specs = list(get_registry().adaptations)
    names = {spec.name for spec in specs}

    found = default_methods(specs, modality)

    assert set(found) == names
    measured = {name for name, prior in found.items() if prior.over}
    assert {"lora", "surgical", "head2toe"} <= measured
    assert all(found[name].over in names - measured for name in measured)


def test_a_modality_that_was_not_measured_has_no_variants():
    specs = list(get_registry().adaptations)

    assert not any(prior.over for prior in default_methods(specs, "sound").values())


def test_a_variant_adds_to_what_was_measured_of_its_base_on_each_backbone():
    assumed = {"lp_ft": MethodPrior(), "lora": MethodPrior(gain=-0.1, over="lp_ft")}
    known = {"a": expectation(0.4), "b": expectation(0.2)}

    priors, gains = known_methods(["lp_ft", "lora"], assumed, known)

    assert priors["lora"].gain == pytest.approx(0.3 - 0.1)
    assert gains["a", "lora"] == pytest.approx(0.3)
    assert gains["b", "lora"] == pytest.approx(0.1)


def test_a_variant_whose_base_is_not_admitted_stands_alone():
    priors, gains = known_methods(["lora"], {"lora": MethodPrior(gain=0.1, over="lp_ft")}, {})

    assert priors["lora"].over == ""
    assert priors["lora"].spread > 0.2
    assert not gains
    assert np.isfinite(priors["lora"].gain)
