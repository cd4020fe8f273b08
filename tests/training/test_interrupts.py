import os
import signal
import threading

import pytest

from wavegen.training.interrupts import interrupts

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_only_a_second_ctrl_c_ends_at_once(number, caplog):
    before = [signal.getsignal(one) for one in ALL]
    with interrupts() as noted, caplog.at_level("INFO", "wavegen"):
        assert not noted.came
        os.kill(os.getpid(), number)
        assert noted.came
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert "Saving, then ending" in caplog.text
    assert [signal.getsignal(one) for one in ALL] == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not noted.came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_may_be_left_undone_ends_at_once():
    done = []

    def task() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("more")

    with interrupts() as noted:
        assert noted.attempt(lambda: done.append("first"))
        assert not noted.attempt(task)
        assert not noted.attempt(lambda: done.append("third"))
    assert done == ["first"]


def test_another_thread_can_train():
    seen = []

    def train() -> None:
        with interrupts() as noted:
            seen.append(noted.attempt(lambda: None))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [True]
