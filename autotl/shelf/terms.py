"""What the weights of a backbone and the data behind them may be used for."""

from autotl.specs import BackboneSpec

__all__ = ["restriction", "terms_text"]


def terms_text(license: str, source_terms: str) -> str:
    """Write the licence of weights and the terms of their data in one line."""
    return "; ".join(filter(None, (license or "licence unknown", source_terms.rstrip("."))))


def restriction(spec: BackboneSpec) -> str | None:
    """Return why a backbone is left out where only permissive ones are wanted, or None."""
    if spec.permissive:
        return None
    terms = terms_text(spec.license, spec.source_terms)
    return f"not known to allow commercial use ({terms}), left out by --permissive-only"
