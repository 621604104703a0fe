"""The report's part on the samples that the shipped model was most confidently wrong about."""

import re
from collections.abc import Mapping
from typing import Any

from autotl.result import wording
from autotl.result.page import text

__all__ = ["mistakes_section"]

# Nothing but a picture may come from `result.json` into an address.
_PICTURE = re.compile(r"data:image/(?:jpeg|png);base64,[A-Za-z0-9+/]{1,60000}={0,2}")
_MOST = 12


def mistakes_section(result: Mapping[str, Any]) -> str:
    """Return the most confident mistakes on the holdout; labels may be wrong as well."""
    mistakes = result.get("mistakes")
    if not isinstance(mistakes, list):
        return ""
    if not mistakes:
        return "<p>The shipped model made no mistake on the holdout.</p>"
    cards = "".join(_card(m) for m in mistakes[:_MOST])
    return (
        "<p>Holdout samples that the shipped model was most sure about and wrong. Look here for "
        f'wrong labels first.</p><div class="cards">{cards}</div>'
    )


def _card(mistake: Mapping[str, Any]) -> str:
    image, words = str(mistake.get("image") or ""), mistake.get("text")
    shown = ""
    if _PICTURE.fullmatch(image):
        label = f"holdout sample of class {mistake.get('true')}"
        shown = f'<img src="{image}" alt="{text(label)}">'
    elif words:
        shown = f"<blockquote><bdi>{text(words)}</bdi></blockquote>"
    probability = wording.score_text(mistake.get("probability"), "accuracy")
    own = wording.score_text(mistake.get("probability_true"), "accuracy")
    return (
        f"<figure>{shown}<figcaption><p>taken for <b><bdi>{text(mistake.get('predicted'))}</bdi>"
        f"</b> {text(probability)}<br>labelled <b><bdi>{text(mistake.get('true'))}</bdi></b> "
        f'{text(own)}</p><p class="note"><bdi>{text(mistake.get("sample"))}</bdi></p>'
        "</figcaption></figure>"
    )
