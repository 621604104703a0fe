"""Statistics that stop and flag candidates: certificates, early stops, false discovery rates."""

from autotl.guard.audits import AUDIT_SHARE, FalseStops, count_false_stops, is_audited, upper_limit
from autotl.guard.certificate import ALPHA, Certificate, certify
from autotl.guard.combining import EProcess
from autotl.guard.early import LOOKS, GainBound, gain_bound, residual_gains
from autotl.guard.flags import Flags, flag_negative
from autotl.guard.power import detectable_gap, detection_power
from autotl.guard.walk import Walk, plan_walk

__all__ = [
    "ALPHA",
    "AUDIT_SHARE",
    "LOOKS",
    "Certificate",
    "EProcess",
    "FalseStops",
    "Flags",
    "GainBound",
    "Walk",
    "certify",
    "count_false_stops",
    "detectable_gap",
    "detection_power",
    "flag_negative",
    "gain_bound",
    "is_audited",
    "plan_walk",
    "residual_gains",
    "upper_limit",
]
