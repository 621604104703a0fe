"""Keep Ctrl-C from losing a result that is about to be written."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NOT_OURS = (signal.SIG_IGN, None)  # ignored, or handled outside Python


@contextmanager
def deferred(on_first: Callable[[], None]) -> Iterator[None]:
    """Call `on_first` at the first Ctrl-C inside and go on; a second one interrupts.

    Signals reach the main thread only; elsewhere this does nothing, nor where they are ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in _NOT_OURS:
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        on_first()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def delayed() -> Iterator[None]:
    """Let what must not be cut in two end before a Ctrl-C inside interrupts.

    Raises:
        KeyboardInterrupt: After the block, where one was pressed and the block raised nothing.
    """
    pressed: list[int] = []
    with deferred(lambda: pressed.append(1)):
        yield
    if pressed:
        raise KeyboardInterrupt
