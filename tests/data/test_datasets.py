import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from autotl.data import build_task, read_dataset, unlabelled
from autotl.errors import AmbiguousModalityError, InvalidDataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 8, 3), dtype=np.uint8)
TEXTS = [f"text {i}" for i in range(12)]


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items, self.n_reads = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.n_reads += 1
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def contents(task):
    return [np.asarray(s).tolist() for s in task.samples]


def as_tensor(i):
    return torch.from_numpy(PIXELS[i]).permute(2, 0, 1) / 255, torch.tensor(i % 2)


@pytest.mark.parametrize(
    "item",
    [
        as_tensor,
        lambda i: (Image.fromarray(PIXELS[i]), i % 2),
        lambda i: {"image": PIXELS[i], "label": np.int64(i % 2), "id": 7},
    ],
    ids=["tensors", "pil", "dicts"],
)
@pytest.mark.parametrize("kind", [Items, list])
def test_items_bring_samples_and_labels(item, kind):
    dataset = kind([item(i) for i in range(12)])

    data = read_dataset(dataset)
    task = build_task(data.X, data.y, ids=data.ids)

    assert data.y == [0, 1] * 6
    assert {type(label) for label in data.y} == {int}
    assert contents(task) == PIXELS.tolist()
    assert contents(build_task(dataset, data.y)) == PIXELS.tolist()


def test_texts_come_as_pairs_too():
    data = read_dataset(Items([(text, i % 2) for i, text in enumerate(TEXTS)]))

    assert list(build_task(data.X, data.y).samples) == TEXTS


def test_items_that_cannot_be_read_are_skipped():
    dataset = Items([(PIXELS[i], i % 2) for i in range(11)] + [OSError("torn")])

    data = read_dataset(dataset)

    assert len(data.X) == len(data.y) == 11
    assert [(s.sample, "OSError: torn" in s.reason) for s in data.skipped] == [("X[11]", True)]


@pytest.mark.parametrize(("targets", "n_reads"), [([0, 1] * 6, 7), ([1, 0] * 6, 14)])
def test_listed_targets_spare_reading_unless_they_differ(targets, n_reads):
    dataset = Items([(PIXELS[i], i % 2) for i in range(12)])
    dataset.targets = targets

    assert read_dataset(dataset).y == [0, 1] * 6
    # One look at the first item, five probes, and all of them where a probe differs.
    assert dataset.n_reads <= n_reads


def test_transforms_of_targets_are_found_between_probes():
    def one_class_changes(target):
        return 5 if target == 1 else target

    labels = [0] * 4 + [1] + [2] * 7  # no probe looks at class 1
    both = SimpleNamespace(target_transform=one_class_changes)
    for attributes in (
        {"target_transform": one_class_changes},
        {"transforms": both},
        {"transforms": lambda image, target: (image, one_class_changes(target))},
    ):
        dataset = Items([(PIXELS[i], one_class_changes(v)) for i, v in enumerate(labels)])
        vars(dataset).update(attributes, targets=labels)

        assert read_dataset(dataset).y == [0] * 4 + [5] + [2] * 7

    plain = Items([(PIXELS[i], v) for i, v in enumerate(labels)])
    plain.targets, plain.target_transform = labels, None
    plain.transforms = SimpleNamespace(target_transform=None)
    assert read_dataset(plain).y == labels
    assert plain.n_reads <= 7


def test_what_has_no_labels_is_refused():
    for X in (TEXTS, PIXELS, Items(TEXTS), Items([{"image": 1}])):
        with pytest.raises(InvalidDataError, match=r"y is None.*12 samples|y is None.*1 samples"):
            read_dataset(X)
    with pytest.raises(InvalidDataError, match="'pixels', 'kind'"):
        read_dataset(Items([{"pixels": 1, "kind": 2}]))


def test_samples_are_told_from_labels_when_predicting():
    assert list(unlabelled(Items([(text, 0) for text in TEXTS]))) == TEXTS
    assert list(unlabelled(Items(TEXTS))) == TEXTS
    assert unlabelled(TEXTS) is TEXTS
    assert unlabelled(PIXELS) is PIXELS


@pytest.fixture
def huggingface():
    return pytest.importorskip("datasets")


def images_of(datasets, rows):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    columns = {
        "image": [Image.fromarray(PIXELS[i]) for i in rows],
        "label": [i % 2 for i in rows],
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_huggingface_images_are_labelled_by_name(huggingface):
    dataset = images_of(huggingface, range(12)).select([*range(11, -1, -1)])

    data = read_dataset(dataset)
    task = build_task(data.X, data.y, modality=data.modality, ids=data.ids)

    assert data.y == ["dog", "cat"] * 6
    assert data.modality == "image"
    assert contents(task) == PIXELS[::-1].tolist()
    assert contents(build_task(unlabelled(dataset), data.y)) == PIXELS[::-1].tolist()


@pytest.mark.parametrize("as_struct", [False, True], ids=["bytes", "structs"])
def test_huggingface_images_may_be_plain_bytes(huggingface, as_struct):
    value = huggingface.Value
    encoded = [png(pixels) for pixels in PIXELS]
    cells = [{"bytes": b, "path": None} for b in encoded] if as_struct else encoded
    kind = {"bytes": value("binary"), "path": value("string")} if as_struct else value("binary")
    features = huggingface.Features({"image": kind, "label": value("string")})
    columns = {"image": cells, "label": ["a", "b"] * 6}
    dataset = huggingface.Dataset.from_dict(columns, features=features)

    data = read_dataset(dataset)

    assert (data.modality, data.y) == ("image", ["a", "b"] * 6)
    assert contents(build_task(data.X, data.y, modality="image")) == PIXELS.tolist()


def test_huggingface_sounds_are_no_images(huggingface):
    pa = pytest.importorskip("pyarrow")
    features = huggingface.Features(
        {"audio": huggingface.Audio(decode=False), "label": huggingface.Value("string")}
    )
    columns = {"audio": [{"bytes": b"x", "path": "x"}] * 2, "label": ["a", "b"]}
    table = pa.table(columns, schema=features.arrow_schema)
    dataset = huggingface.Dataset(table, info=huggingface.DatasetInfo(features=features))

    with pytest.raises(InvalidDataError, match="No column"):
        read_dataset(dataset)


def test_huggingface_test_split_is_the_holdout(huggingface):
    parts = {
        "train": images_of(huggingface, range(6)),
        "validation": images_of(huggingface, range(6, 9)),
        "test": images_of(huggingface, range(9, 12)),
        "extra": images_of(huggingface, range(2)),
    }

    data = read_dataset(huggingface.DatasetDict(parts))

    assert data.y == ["cat", "dog"] * 4 + ["cat"]
    assert data.y_holdout == ["dog", "cat", "dog"]
    assert (data.ids[0], data.ids[-1]) == ("train row 1", "validation row 3")
    assert "'extra'" in data.notes[0]
    assert len(data.X) == 9
    assert len(data.X_holdout) == 3


def test_huggingface_texts_and_unlabelled_test_splits(huggingface):
    def texts(labels):
        columns = {"sentence": TEXTS[: len(labels)], "idx": range(len(labels)), "label": labels}
        features = huggingface.Features(
            {
                "sentence": huggingface.Value("string"),
                "idx": huggingface.Value("int32"),
                "label": huggingface.ClassLabel(names=["bad", "good"]),
            }
        )
        return huggingface.Dataset.from_dict(columns, features=features)

    data = read_dataset(huggingface.DatasetDict(train=texts([0, 1, 1]), test=texts([-1, -1])))

    assert (list(data.X), data.y) == (TEXTS[:3], ["bad", "good", "good"])
    assert data.X_holdout is None
    assert "'test' is not used: it has no labels" in data.notes[0]


def test_huggingface_columns_must_be_clear(huggingface):
    both = images_of(huggingface, range(2)).add_column("text", TEXTS[:2])
    none = huggingface.Dataset.from_dict({"a": [1, 2], "b": [3, 4]})

    with pytest.raises(AmbiguousModalityError, match="modality='image'"):
        read_dataset(both)
    assert list(read_dataset(both, modality="text").X) == TEXTS[:2]
    with pytest.raises(InvalidDataError, match="rename_column"):
        read_dataset(none)
    with pytest.raises(InvalidDataError, match="streaming=False"):
        read_dataset(none.to_iterable_dataset())
    with pytest.raises(InvalidDataError, match=r"X\['train'\]"):
        unlabelled(huggingface.DatasetDict(train=none))
