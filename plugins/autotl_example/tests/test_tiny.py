"""The contract suite, run on the example."""

from autotl.testing import check_backbone
from autotl_example import autotl_backbones


def test_tiny_keeps_the_contract() -> None:
    """Check everything that autotl asks of a backbone."""
    check_backbone(next(iter(autotl_backbones())))
