import unicodedata

import numpy as np
import pytest
from alphabets import COMMON, DIGITS, alphabets


def test_alphabets_hold_letters_of_many_scripts_and_few_of_each():
    found = alphabets()
    assert {"HEBREW", "ARMENIAN", "ETHIOPIC", "KATAKANA", "CHEROKEE", "RUNIC"} <= set(found)
    assert len(found) > 100
    assert max(map(len, found.values())) <= 20
    letters = [letter for alphabet in found.values() for letter in alphabet]
    assert len(set(letters)) == len(letters)
    assert not set(letters) & set(COMMON + DIGITS)


def test_alphabets_leave_out_forms_that_differ_in_small_marks():
    names = [unicodedata.name(letter) for group in alphabets().values() for letter in group]
    assert not [name for name in names if " WITH " in name or "HANGUL SYLLABLE" in name]


def test_a_typeface_draws_the_characters_it_has():
    pytest.importorskip("fontTools", reason="fonttools is not installed")
    fonts = pytest.importorskip("fonts")
    try:
        paths = fonts.find_fonts()
    except ModuleNotFoundError:
        paths = []
    if not paths:
        pytest.skip("no scalable font is installed")
    typefaces = (fonts.Typeface(path) for path in paths)
    typeface = next((t for t in typefaces if {"A", "l"} <= t.characters), None)
    if typeface is None:
        pytest.skip("no installed font has Latin letters")
    image = typeface.draw("A", 48, 32)
    assert image.shape == (48, 48)
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(31, abs=1)
    assert abs((rows.min() + rows.max()) / 2 - 23.5) <= 1
    assert (typeface.draw("l", 48, 32) != image).any()
    assert typeface.draw(" ", 48, 32) is None


def test_characters_of_the_same_shape_are_one_class_but_digits_never_are():
    characters = pytest.importorskip("characters", reason="fonttools is not installed")
    cross, bar = np.zeros((2, 48, 48), np.uint8)
    bar[10:38, 22:26] = 255
    cross[:] = bar
    cross[22:26, 10:38] = 255
    pictures = {"1": bar, "7": bar, "I": bar, "x": cross, "X": cross}
    kinds = {"1": "digits", "7": "digits", "I": "rare", "x": "common", "X": "common"}
    rows = [(image, character, 0) for character, image in pictures.items() if character != "7"]
    classes = characters.merge(rows, kinds)
    assert classes == {"1": "1I", "I": "1I", "x": "Xx", "X": "Xx"}
    rows = [(pictures[character], character, 0) for character in "17"]
    assert characters.merge(rows, kinds) == {"1": "1", "7": "7"}
