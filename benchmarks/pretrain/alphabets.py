"""The characters from which `embedded/glyphs` learns, by alphabet."""

from __future__ import annotations

import unicodedata

DIGITS = "0123456789"
_LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SYMBOLS = "&@#$%?!+=<>()[]{}~/^*€£§"
_GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπρσφψω"
_CYRILLIC = "БГДЖЗИЙЛПУФЦЧЩЫЭЮЯбвгджзилцчщыэюя"
COMMON = _LATIN + _SYMBOLS + _GREEK + _CYRILLIC

# Names that begin so are too many or too dense for 32 pixels, or repeat other characters.
_LEFT_OUT = {
    "BYZANTINE",
    "CIRCLED",
    "CJK",
    "CUNEIFORM",
    "CYRILLIC",
    "DIGIT",
    "DOUBLE-STRUCK",
    "FULLWIDTH",
    "GREEK",
    "HALFWIDTH",
    "HENTAIGANA",
    "IDEOGRAPHIC",
    "KHITAN",
    "LATIN",
    "MATHEMATICAL",
    "MODIFIER",
    "NEGATIVE",
    "NUSHU",
    "PARENTHESIZED",
    "SCRIPT",
    "SIGNWRITING",
    "SQUARED",
    "SUBSCRIPT",
    "SUPERSCRIPT",
    "TANGUT",
    "TURNED",
}
# Forms of other characters, which differ from them in small marks only.
_FORMS = (" WITH ", "COMPATIBILITY", "LIGATURE", " FORM", "MTAVRULI", "HANGUL SYLLABLE")
# Families of alphabets, whose second word tells them apart.
_FAMILIES = {"INSCRIPTIONAL", "LINEAR", "NEW", "OLD", "TAI"}
_MOST = 20


def alphabets() -> dict[str, list[str]]:
    """Map the names of rarer alphabets to at most 20 of their letters and digits."""
    found: dict[str, list[str]] = {}
    for point in range(0x250, 0x20000):
        character = chr(point)
        if unicodedata.category(character) not in {"Ll", "Lu", "Lo", "Nd", "Nl"}:
            continue
        name = unicodedata.name(character, "")
        first, _, rest = name.partition(" ")
        if name and first not in _LEFT_OUT and not any(form in name for form in _FORMS):
            alphabet = f"{first} {rest.split(' ')[0]}" if first in _FAMILIES else first
            found.setdefault(alphabet, []).append(character)
    return {name: _thin(letters) for name, letters in sorted(found.items())}


def _thin(letters: list[str]) -> list[str]:
    """Keep letters at even distances where an alphabet has too many."""
    step = max(1.0, len(letters) / _MOST)
    return [letters[int(i * step)] for i in range(min(_MOST, len(letters)))]
