import numpy as np
import pytest

from autotl.features import BackboneSession
from autotl.features import session as session_module
from autotl.testing.fakes import fake_backbone, fake_modality, toy_images


def open_session(n=40, **keywords):
    images, y = toy_images(n)
    return BackboneSession(fake_backbone(), images, fake_modality(), **keywords), y


def test_embed_computes_each_sample_once():
    session, _ = open_session()
    seen = []
    first = session.embed(np.arange(10), seen.append)

    again = session.embed(np.arange(20), seen.append)

    assert sum(seen) == 20
    np.testing.assert_array_equal(first, again[:10])


def test_embed_keeps_the_order_of_rows():
    session, _ = open_session()
    rows = np.array([7, 3, 3, 11])

    embedded = session.embed(rows)

    np.testing.assert_array_equal(embedded[1], embedded[2])
    np.testing.assert_array_equal(embedded[0], session.embed(np.array([7]))[0])


def test_out_of_memory_halves_the_batch(monkeypatch):
    session, _ = open_session()
    original = session.loaded.module.forward

    def forward(batch):
        if len(batch) > 10:
            raise RuntimeError("CUDA out of memory")
        return original(batch)

    monkeypatch.setattr(session.loaded.module, "forward", forward)

    assert session.embed(np.arange(40)).shape[0] == 40
    assert session.batch_size <= 10


def test_other_runtime_errors_are_not_swallowed(monkeypatch):
    session, _ = open_session()

    def forward(batch):
        raise RuntimeError("wrong shape")

    monkeypatch.setattr(session.loaded.module, "forward", forward)

    with pytest.raises(RuntimeError, match="wrong shape"):
        session.embed(np.arange(4))


def test_check_stops_between_batches():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise TimeoutError

    session, _ = open_session(n=100, check=check)

    with pytest.raises(TimeoutError):
        session.embed(np.arange(100))
    assert session.missing(np.arange(100)) == 100 - session.batch_size


def test_batches_cover_every_sample_once_and_are_seeded():
    session, _ = open_session()
    inputs = session.inputs(np.arange(5, 35))

    first = [rows.tolist() for rows, _ in inputs.batches(8, seed=3)]
    second = [rows.tolist() for rows, _ in inputs.batches(8, seed=3)]

    assert first == second
    assert sorted(row for rows in first for row in rows) == list(range(30))


def test_load_backbone_gives_a_copy():
    session, _ = open_session()
    before = session.embed(np.arange(4)).copy()
    copy = session.inputs(np.arange(4)).load_backbone()
    for parameter in copy.module.parameters():
        parameter.data.zero_()

    session._done[:] = False

    np.testing.assert_array_equal(session.embed(np.arange(4)), before)


def test_a_long_pass_settles_the_batch_size_when_time_may_decide(monkeypatch):
    monkeypatch.setattr(session_module, "_LONG_PASS", 1)
    timed, _ = open_session(timed=True)
    untimed, _ = open_session()
    for session in (timed, untimed):
        session.batch_size = 8
        session.embed(np.arange(40))

    assert timed.batch_size in (4, 8, 16)
    assert untimed.batch_size == 8
