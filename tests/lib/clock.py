"""The clocks of a program that was built with --enable-failpoints: see server/base/clock.h.

    clock = Clock(d.dir / "clock")
    d.start(env=clock.env)
    clock.jump(86400)        # somebody sets the wall clock a day ahead
    clock.sleep(3600)        # the machine was suspended for an hour: both clocks went on
"""
import mmap
import os
import pathlib
import struct
import time

SECOND = 1000000


class Clock:
    def __init__(self, place, own=None):
        self.file = pathlib.Path(place)
        self.file.write_bytes(bytes(16))
        if own:
            own(self.file)
        fd = os.open(self.file, os.O_RDWR)
        self.map = mmap.mmap(fd, 16)
        os.close(fd)
        self.env = {"DRYDOCK_CLOCK": str(self.file)}

    def _add(self, at, seconds):
        self.map[at:at + 8] = struct.pack("=q", struct.unpack("=q", self.map[at:at + 8])[0] + int(seconds * SECOND))

    def jump(self, seconds):
        self._add(0, seconds)

    def sleep(self, seconds):
        self._add(8, seconds)
        self._add(0, seconds)

    def now(self):
        """The wall clock as the program sees it, seconds."""
        return time.time() + struct.unpack("=q", self.map[:8])[0] / SECOND
