"""Waiting for what comes by itself: until(lambda: d.live() == {"/a": b"a"})."""
import time


def until(what, wait=120, why=lambda: "it did not come about", pause=0.02):
    """What it returns, as soon as that is true. After so many seconds a failed test, with what why() says: longer than any
    machine needs, since nobody waits for as long where all is well."""
    end = time.monotonic() + wait
    while not (value := what()):
        assert time.monotonic() < end, why()
        time.sleep(pause)
    return value
