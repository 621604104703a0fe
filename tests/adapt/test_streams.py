import numpy as np

from autotl.adapt import Stream
from autotl.testing.fakes import ArrayInputs, fake_backbone, toy_images


def inputs(n):
    return ArrayInputs(toy_images(n)[0], fake_backbone().load("cpu"))


def drawn(stream, n):
    return [tuple(stream.next()[1].tolist()) for _ in range(n)]


def test_a_stream_goes_on_past_its_end_and_leaves_no_small_batch():
    batches = drawn(Stream([inputs(10)], 4, start=0), 7)

    assert all(len(rows) == 4 for rows in batches)
    assert len(set(batches)) > 2


def test_a_stream_starts_over_with_its_seed():
    stream = Stream([inputs(10)], 4, start=0)
    stream.begin(3)
    first = drawn(stream, 5)
    stream.begin(3)

    assert drawn(stream, 5) == first


def test_fewer_samples_than_a_batch_are_one_batch():
    assert len(drawn(Stream([inputs(3)], 8, start=0), 2)[1]) == 3


def test_weights_say_how_often_a_data_set_is_drawn_from():
    stream = Stream([inputs(4), inputs(4)], 2, start=0, weights=[0.0, 1.0])

    assert {stream.next()[0] for _ in range(6)} == {1}


def test_streams_of_one_seed_show_the_same_samples_side_by_side():
    same = inputs(9)
    weak, strong = (Stream([same], 4, start=0, augment=a) for a in (0.1, 0.9))
    for stream in (weak, strong):
        stream.begin(5)

    assert drawn(weak, 5) == drawn(strong, 5)
    assert np.array_equal(weak.next()[1], strong.next()[1])
