import errno
import io
import json
import os
import re
import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autotl.data import build_task, read
from autotl.errors import AmbiguousModalityError, InvalidDataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 8, 3), dtype=np.uint8)


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, columns, names=None):
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=5)
    return path


def structs():
    return [{"bytes": encoded(p), "path": f"{i}.png"} for i, p in enumerate(PIXELS)]


def test_texts_keep_the_type_of_their_labels(tmp_path):
    frame = pd.DataFrame({"text": ["NA", "null", "c", "d"], "label": [3, 1, 1, 3]})
    frame.to_parquet(tmp_path / "t.parquet")

    data = read(tmp_path / "t.parquet")

    assert (data.X, data.y) == (["NA", "null", "c", "d"], [3, 1, 1, 3])
    assert (data.modality, data.ids[0]) == ("text", "row 1")
    assert data.columns == {"text": "text", "label": "label"}


def test_embedded_images_are_read_on_access(tmp_path):
    path = write(tmp_path / "t.parquet", {"image": structs(), "label": [0, 1] * 6}, ["cat", "dog"])

    data = read(path)
    task = build_task(data.X, data.y, modality=data.modality, ids=data.ids)

    assert data.y == ["cat", "dog"] * 6
    assert [np.asarray(s).tolist() for s in task.samples] == PIXELS.tolist()


def test_images_may_be_plain_bytes_or_files_beside(tmp_path):
    Image.fromarray(PIXELS[1]).save(tmp_path / "one.png")
    rows = [{"bytes": encoded(PIXELS[0]), "path": None}, {"bytes": None, "path": "one.png"}, None]
    mixed = read(write(tmp_path / "mixed.parquet", {"image": rows, "label": ["a", "b", "b"]}))
    plain = read(write(tmp_path / "plain.parquet", {"img": [encoded(PIXELS[0])], "label": ["a"]}))

    assert list(mixed.X) == [encoded(PIXELS[0]), tmp_path / "one.png", None]
    assert list(plain.X) == [encoded(PIXELS[0])]


def test_a_column_of_paths_and_one_of_splits_work_as_in_csv(tmp_path):
    for i in range(4):
        Image.fromarray(PIXELS[i]).save(tmp_path / f"{i}.png")
    columns = {
        "path": [f"{i}.png" for i in range(4)],
        "label": ["a", "b"] * 2,
        "split": ["train", "train", "test", "validation"],
    }

    data = read(write(tmp_path / "t.parquet", columns))

    assert [p.name for p in data.X] == ["0.png", "1.png", "3.png"]
    assert [p.name for p in data.X_holdout] == ["2.png"]
    assert data.y_holdout == ["a"]


def test_missing_labels_are_none_and_no_matter_for_prediction(tmp_path):
    path = write(tmp_path / "t.parquet", {"text": ["x", "y"], "label": [-1, 0]}, ["cat"])

    assert read(path).y == [None, "cat"]
    unlabelled = read(path, require_labels=False)
    assert unlabelled.y is None
    assert "1 of 2 rows have no label" in unlabelled.notes[0]


def test_damaged_images_are_skipped_by_row(tmp_path):
    rows = structs()
    rows[4]["bytes"] = b"no image"
    data = read(write(tmp_path / "t.parquet", {"image": rows, "label": ["a", "b"] * 6}))

    task = build_task(data.X, data.y, modality=data.modality, ids=data.ids)

    assert [s.sample for s in task.skipped] == ["row 5"]


@pytest.mark.parametrize(
    ("columns", "flags", "message"),
    [
        ({"text": ["a"], "label": [5]}, {}, "names? 1 classes"),
        ({"text": ["a"], "label": ["only"]}, {}, "the label 'only'.*names? 1 classes"),
        ({"text": [], "label": []}, {}, "no rows"),
        ({"text": ["a"], "label": [0], "v": [[1.0]]}, {"text": "v"}, "holds list"),
        ({"text": ["a"], "image": [b"x"], "label": [0]}, {"label": "image"}, "holds images"),
        ({"text": ["a"], "label": [0]}, {"text": "no"}, "no column 'no'"),
    ],
)
def test_read_says_what_a_file_lacks(tmp_path, columns, flags, message):
    path = write(tmp_path / "t.parquet", columns, ["only"])

    with pytest.raises(InvalidDataError, match=message):
        read(path, **flags)


def test_images_and_texts_in_one_file_are_ambiguous(tmp_path):
    path = write(tmp_path / "t.parquet", {"image": [b"x"], "text": ["a"], "label": ["b"]})

    with pytest.raises(AmbiguousModalityError, match="--image 'image' or --text 'text'"):
        read(path)
    assert read(path, text="text").X == ["a"]


def test_pickled_objects_and_damaged_files_are_refused(tmp_path):
    mark = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "x"}
    schema = pa.schema([pa.field("text", pa.string()), pa.field("v", pa.binary(), metadata=mark)])
    table = pa.table({"text": ["a"], "v": [b"x"]}, schema=schema)
    pq.write_table(table, tmp_path / "pickled.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and nothing else")

    with pytest.raises(InvalidDataError, match=r"'v'.*pickled Python objects"):
        read(tmp_path / "pickled.parquet", text="text")
    with pytest.raises(InvalidDataError, match="cannot be read as Parquet"):
        read(tmp_path / "damaged.parquet")


def test_damaged_row_groups_are_named(tmp_path):
    path = write(tmp_path / "t.parquet", {"image": structs(), "label": ["a", "b"] * 6})
    metadata = pq.ParquetFile(path).metadata
    at = metadata.row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)

    with pytest.raises(InvalidDataError, match=r"t\.parquet' cannot be read as Parquet"):
        read(path)


class FullDisk(io.RawIOBase):
    def writable(self):
        return True

    def write(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_temporary_folder_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", {"image": structs(), "label": ["a", "b"] * 6})
    n_bytes = sum(len(s["bytes"]) for s in structs())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: io.BufferedWriter(FullDisk()))

    with pytest.raises(InvalidDataError, match=r"No space left.*TMPDIR") as caught:
        read(path)

    assert repr(str(tmp_path)) in str(caught.value)
    needed = int(re.search(r"need about (\d+) bytes", str(caught.value))[1])
    assert n_bytes <= needed <= 2 * n_bytes
