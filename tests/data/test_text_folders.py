import pytest
from PIL import Image

from autotl.data import build_task, read
from autotl.errors import AmbiguousModalityError, InvalidDataError


def put(path, content="some words"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.new("RGB", (6, 6)).save(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def put_classes(folder, suffix=".txt", n=3):
    for label in "ab":
        for i in range(n):
            put(folder / label / f"{i}{suffix}", f"{label} {i} {folder.name}")


def test_class_folders_of_texts(tmp_path):
    put_classes(tmp_path)

    data = read(tmp_path)
    task = build_task(data.X, data.y, modality=data.modality, ids=data.ids)

    assert (data.modality, data.y) == ("text", ["a"] * 3 + ["b"] * 3)
    assert task.samples[3] == f"b 0 {tmp_path.name}"


def test_a_split_level_of_texts(tmp_path):
    for split in ("train", "val", "test"):
        put_classes(tmp_path / split)

    data = read(tmp_path)

    assert len(data.X) == 12
    assert data.y_holdout == ["a"] * 3 + ["b"] * 3


def test_texts_that_cannot_be_used_are_skipped_by_name(tmp_path):
    put_classes(tmp_path, n=5)
    latin = put(tmp_path / "a" / "latin.txt", "na\xefve".encode("latin-1"))
    empty = put(tmp_path / "b" / "empty.txt", " \n")
    marked = put(tmp_path / "b" / "marked.txt", b"\xef\xbb\xbfwords")

    data = read(tmp_path)
    task = build_task(data.X, data.y, modality=data.modality, ids=data.ids)

    reasons = {s.sample: s.reason for s in task.skipped}
    assert set(reasons) == {str(latin), str(empty)}
    assert "not UTF-8" in reasons[str(latin)]
    assert "empty" in reasons[str(empty)]
    assert task.samples[len(task.samples) - 1] == "words"
    assert marked in data.X


def test_images_and_texts_side_by_side_are_ambiguous(tmp_path):
    put_classes(tmp_path)
    put_classes(tmp_path, ".png", n=2)

    with pytest.raises(AmbiguousModalityError, match=r"4 images and 6 texts.*--modality image"):
        read(tmp_path)
    assert len(read(tmp_path, modality="text").X) == 6
    images = read(tmp_path, modality="image")
    assert len(images.X) == 4
    assert images.notes == ["Ignored 6 files that are no images (.txt: 6)."]


def test_notes_beside_images_are_no_texts(tmp_path):
    put_classes(tmp_path, ".png")
    put(tmp_path / "README.txt")
    put(tmp_path / "a" / "source.txt")

    assert read(tmp_path).modality == "image"


def test_loose_texts_are_read_for_prediction(tmp_path):
    one = put(tmp_path / "1.txt", "first")
    put(tmp_path / "2.txt", "second")
    put(tmp_path / "picture.png")

    data = read(tmp_path, modality="text", require_labels=False)

    assert [p.name for p in data.X] == ["1.txt", "2.txt"]
    assert data.y is None
    assert read(one, require_labels=False).ids == [str(one)]
    with pytest.raises(InvalidDataError, match="is one text"):
        read(one)
    with pytest.raises(InvalidDataError, match="not 'audio'"):
        read(tmp_path, modality="audio")
