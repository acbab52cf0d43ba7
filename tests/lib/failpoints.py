"""What a program built with --enable-failpoints is told, through the file that it maps: see server/base/failpoint.h.

    fp = Failpoints(d.dir / "failpoints")
    d.start(env=fp.env)
    fp.stop("act_recorded", 2)       # SIGKILL to itself the second time from now that it gets there
    fp.error("act_recorded")         # an error there
    fp.sys(5, errno.EIO)             # the fifth call from now that writes
    fp.hits()                        # {name: times} since reset()
"""
import mmap
import os
import pathlib
import re
import struct

TOP = pathlib.Path(__file__).resolve().parents[2]
NAMES = re.findall(r'^FAILPOINT_AT\((\w+), "', (TOP / "server/base/failpoint.def").read_text(), re.M)
# those that may return an error
WITH_ERROR = {m for p in (TOP / "server").rglob("*.c") for m in re.findall(r"FAILPOINT_OR\(\w+, (\w+)\)", p.read_text())}
MAGIC = 0x64726C31
NOTHING, STOP, ERROR, DELAY, SYS, MEMORY = range(6)
ACTION, POINT, AFTER, VALUE, HAPPENED, SYS_CALLS, ALLOCATIONS, HITS = (4 * i for i in range(2, 10))
SHORT = 0  # in place of an errno: half of the bytes are written


def built():
    """Is the program one of those that listen?"""
    from drydock import program
    return b"DRYDOCK_FAILPOINTS: %s is not a file" in pathlib.Path(program()).read_bytes()


class Failpoints:
    def __init__(self, place, own=None):
        assert built(), "the programs are not configured with --enable-failpoints"
        self.file = pathlib.Path(place)
        self.file.write_bytes(struct.pack("=10I", MAGIC, len(NAMES), *[0] * 8)[:HITS] + bytes(4 * len(NAMES)))
        if own:
            own(self.file)
        fd = os.open(self.file, os.O_RDWR)
        self.map = mmap.mmap(fd, HITS + 4 * len(NAMES))
        os.close(fd)
        self.env = {"DRYDOCK_FAILPOINTS": str(self.file)}

    def _put(self, at, value):
        self.map[at:at + 4] = struct.pack("=i", value)

    def _get(self, at):
        return struct.unpack("=i", self.map[at:at + 4])[0]

    def _arm(self, action, point, after, value=0):
        self._put(ACTION, NOTHING)
        self._put(POINT, point)
        self._put(AFTER, after)
        self._put(VALUE, value)
        self._put(HAPPENED, 0)
        self._put(ACTION, action)

    def stop(self, name, nth=1):
        self._arm(STOP, NAMES.index(name), nth)

    def error(self, name, nth=1):
        assert name in WITH_ERROR, name
        self._arm(ERROR, NAMES.index(name), nth)

    def delay(self, name, milliseconds, nth=1):
        self._arm(DELAY, NAMES.index(name), nth, milliseconds)

    @property
    def stops(self):
        """Does what is armed end the daemon? Without memory it ends itself."""
        return self._get(ACTION) in (STOP, MEMORY)

    def sys(self, nth, errno):
        self._arm(SYS, 0, nth, errno)

    def memory(self, nth):
        self._arm(MEMORY, 0, nth)

    def off(self):
        self._put(ACTION, NOTHING)

    @property
    def happened(self):
        return self._get(HAPPENED)

    @property
    def sys_calls(self):
        return self._get(SYS_CALLS)

    @property
    def allocations(self):
        return self._get(ALLOCATIONS)

    def reset(self):
        self.map[HAPPENED:] = bytes(len(self.map) - HAPPENED)

    def hits(self):
        counts = struct.unpack(f"={len(NAMES)}I", self.map[HITS:])
        return {n: c for n, c in zip(NAMES, counts) if c}
