import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data import build_task, read
from autotl.data.folders import IMAGE_SUFFIXES
from autotl.errors import AmbiguousModalityError, InvalidDataError, UnknownNameError
from autotl_modalities.image import SUFFIXES

ZOO = Path(__file__).parents[2].parent / "shared" / "zoo"


def draw(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (shade, 0, 0)).save(path)
    return path


def draw_classes(folder, classes="ab", n=3):
    for c in classes:
        for i in range(n):
            draw(folder / c / f"{i}.png", shade=i)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_read_takes_class_folders_as_labels(tmp_path):
    draw_classes(tmp_path)
    draw(tmp_path / "b" / "deep" / "er" / "9.png")

    data = read(tmp_path)

    assert data.y == ["a"] * 3 + ["b"] * 4
    assert data.modality == "image"
    assert data.ids[-1] == str(tmp_path / "b" / "deep" / "er" / "9.png")
    assert data.X_holdout is None


def test_read_merges_train_and_val_and_holds_out_test(tmp_path):
    for split in ("train", "val", "test"):
        draw_classes(tmp_path / split)

    data = read(str(tmp_path))

    assert sorted(data.y) == ["a"] * 6 + ["b"] * 6
    assert data.y_holdout == ["a"] * 3 + ["b"] * 3
    assert all("test" in str(p.relative_to(tmp_path)) for p in data.X_holdout)


def test_read_lets_a_class_be_called_test(tmp_path):
    draw_classes(tmp_path, ["test", "other"])

    assert set(read(tmp_path).y) == {"test", "other"}


def test_read_counts_other_files_and_lists_loose_images(tmp_path):
    draw_classes(tmp_path)
    write(tmp_path / "a" / "notes.txt", "x")
    write(tmp_path / "a" / ".hidden", "x")
    draw(tmp_path / "loose.png")

    data = read(tmp_path)

    assert data.notes == ["Ignored 1 file that is no image (.txt: 1)."]
    assert [(s.sample, "no class folder" in s.reason) for s in data.skipped] == [
        (str(tmp_path / "loose.png"), True)
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_read_never_opens_a_pipe(tmp_path):
    draw_classes(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")

    assert len(read(tmp_path).X) == 6


def test_read_for_prediction_takes_everything_in_order(tmp_path):
    draw_classes(tmp_path / "split" / "train")
    draw_classes(tmp_path / "split" / "test")
    for i in range(3):
        draw(tmp_path / "flat" / f"{i}.jpg")

    split = read(tmp_path / "split", require_labels=False)
    flat = read(tmp_path / "flat", require_labels=False)

    assert len(split.X) == len(split.y) == 12
    assert split.X_holdout is None
    assert flat.y is None
    assert [p.name for p in flat.X] == ["0.jpg", "1.jpg", "2.jpg"]
    assert read(flat.X[0], require_labels=False).ids == [str(flat.X[0])]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ([], "empty"),
        (["a.pdf"], r"\.pdf.*CSV"),
        (["a.txt"], "no class folders.*CSV"),
        (["a.png"], "no class folders"),
        (["a/1.png"], "one class only, 'a'"),
        (["in/a/1.png", "in/b/1.png"], "Did you mean"),
        (["train/a/1.png", "b/1.png"], "Keep either classes or splits"),
        (["test/a/1.png", "test/b/1.png"], "Add a 'train' folder"),
    ],
)
def test_read_says_what_a_folder_lacks(tmp_path, layout, message):
    for name in layout:
        if name.endswith("png"):
            draw(tmp_path / name)
        else:
            write(tmp_path / name, "x")

    with pytest.raises(InvalidDataError, match=message):
        read(tmp_path)


def test_read_suggests_a_near_name(tmp_path):
    draw_classes(tmp_path / "photos")

    with pytest.raises(InvalidDataError, match=r"Did you mean .*photos"):
        read(tmp_path / "photo")
    with pytest.raises(UnknownNameError, match="sklearn:digits"):
        read("sklearn:digit")
    with pytest.raises(InvalidDataError, match="not a kind of file"):
        read(write(tmp_path / "data.xlsx", "x"))
    with pytest.raises(InvalidDataError, match="names a column"):
        read(tmp_path / "photos", label="label")


def test_read_knows_the_digits():
    data = read("sklearn:digits")

    assert data.X.shape == (1797, 8, 8)
    assert data.modality == "image"
    assert data.ids[7] == "X[7]"


def test_image_suffixes_agree_with_the_plugin():
    assert IMAGE_SUFFIXES == SUFFIXES


def test_read_keeps_the_texts_na_and_null(tmp_path):
    table = write(tmp_path / "t.csv", "text,label\nNA,pos\nnull,NA\n,pos\n")

    data = read(table)

    assert data.X == ["NA", "null", ""]
    assert data.y == ["pos", "NA", "pos"]
    assert data.ids == ["row 1", "row 2", "row 3"]
    assert data.columns == {"text": "text", "label": "label"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.tsv", "text\tlabel\nhi, you\t1\n"), ("t.csv", "\ufefftext;label\nhi, you;1\n")],
)
def test_read_finds_the_separator(tmp_path, name, text):
    data = read(write(tmp_path / name, text))

    assert (data.X, data.y) == (["hi, you"], [1])


def test_read_splits_rows_by_column(tmp_path):
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("text,label,split\na,1,train\nb,2,Test\nc,1,dev\n")

    data, everything = read(path), read(path, require_labels=False)

    assert (data.X, data.X_holdout, data.y_holdout) == (["a", "c"], ["b"], [2])
    assert data.ids == ["row 1", "row 3"]
    assert (everything.X, everything.X_holdout) == (["a", "b", "c"], None)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1", "-1"], [1, -1]),
        (["007", "1"], ["007", "1"]),
        (["1.0", "2"], [1.0, 2.0]),
        (["", "2"], [None, 2]),
        (["yes", "1"], ["yes", "1"]),
    ],
)
def test_read_keeps_the_kind_of_label(tmp_path, cells, labels):
    rows = "\n".join(f"word,{cell}" for cell in cells)

    found = read(write(tmp_path / "t.csv", f"text,label\n{rows}\n")).y

    assert found == labels
    assert [type(v) for v in found] == [type(v) for v in labels]


def test_read_takes_groups_from_a_column(tmp_path):
    table = write(tmp_path / "t.csv", "text,label,who\na,1,ann\nb,2,bob\n")

    assert read(table, groups="who").groups == ["ann", "bob"]


def test_read_resolves_images_against_the_table(tmp_path):
    draw(tmp_path / "pics" / "1.png")
    table = write(tmp_path / "t.csv", "image,label\npics/1.png,a\nmissing.png,b\npics,b\n")

    data = read(table)

    assert data.X[0] == tmp_path / "pics" / "1.png"
    assert data.ids[1] == "missing.png (row 2)"
    with pytest.raises(InvalidDataError, match=r"one class.*after 2 unusable"):
        build_task(data.X, data.y, modality="image", ids=data.ids)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", {}, "cannot be read as a table"),
        ("text,label\n", {}, "no rows"),
        ("text,label\na,b,c\n", {}, "more cells than the header"),
        ("a,b\nhi,x\nho,y\n", {}, "'a', 'b'.*--text or --image"),
        ("text,p,q\nhi,x,1\n", {}, "'text', 'p', 'q'.*--label"),
        ("text,p,q\nhi,x,1\n", {"label": "r"}, "no column 'r' \\(--label\\).*'text', 'p', 'q'"),
        ("text,label,split\na,1,fold1\n", {"split": "split"}, "'fold1'.*--split"),
        ("text,label,split\na,1,test\n", {}, "all 1 rows"),
        ("image,label\nno.png,1\n", {}, "None of the 1 paths"),
        ("path,label\nword,1\n", {}, "--text or --image"),
        ("text,label\na,1\n", {"text": "text", "modality": "image"}, "contradicts"),
    ],
)
def test_read_says_what_a_table_lacks(tmp_path, text, flags, message):
    with pytest.raises(InvalidDataError, match=message):
        read(write(tmp_path / "t.csv", text), **flags)


def test_read_asks_whether_texts_or_images(tmp_path):
    table = write(tmp_path / "t.csv", "image,text,label\na.png,hi,1\n")

    with pytest.raises(AmbiguousModalityError, match="--image 'image' or --text 'text'"):
        read(table)
    assert read(table, modality="text").X == ["hi"]


def test_read_names_the_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("text,label\nh\xe9,1\n".encode("latin-1"))

    with pytest.raises(InvalidDataError, match=r"not UTF-8.*byte 12"):
        read(path)


@pytest.mark.parametrize(
    "names", [("X", "y", None, None), ("x_train", "y_train", "x_test", "y_test")]
)
def test_read_npz_takes_both_layouts(tmp_path, names):
    X, y = np.zeros((4, 5, 5)), np.arange(4)
    arrays = {n: a for n, a in zip(names, (X, y, X[:2], y[:2]), strict=True) if n}
    np.savez(tmp_path / "a.npz", extra=np.zeros(2), **arrays)

    data = read(tmp_path / "a.npz")
    everything = read(tmp_path / "a.npz", require_labels=False)

    assert data.X.shape == (4, 5, 5)
    assert (data.X_holdout is not None) == (names[2] is not None)
    assert len(everything.X) == len(everything.y) == (6 if names[2] else 4)


def test_read_npz_refuses_objects_and_strangers(tmp_path):
    np.savez(tmp_path / "object.npz", X=np.array([{}, 1], dtype=object))
    np.savez(tmp_path / "names.npz", foo=np.zeros(3))
    np.savez(tmp_path / "bare.npz", X=np.zeros((3, 2, 2)))
    write(tmp_path / "text.npz", "x")

    for name, message in [
        ("object", "run code"),
        ("names", "'foo'"),
        ("bare", "no 'y'"),
        ("text", "not an .npz"),
    ]:
        with pytest.raises(InvalidDataError, match=message):
            read(tmp_path / f"{name}.npz")


@pytest.mark.skipif(not ZOO.is_dir(), reason="the zoo is not here")
def test_read_takes_a_zoo_table_to_a_task():
    data = read(ZOO / "text" / "trec6.csv.gz")

    task = build_task(data.X, data.y, X_holdout=data.X_holdout, y_holdout=data.y_holdout)

    assert task.modality.name == "text"
    assert len(task.split.holdout) == 500
    assert task.metric.name == "balanced_accuracy"
