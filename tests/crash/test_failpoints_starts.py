"""Stopped at each failpoint of a start after a crash and of an orderly end, and while the repository is put together."""
import fcntl
import subprocess
import threading

from drydock import Drydock
from walking import STARTS, World, share


def test_stopped_at_each_step_of_a_start_and_an_end():
    with World() as world:
        share(world, "starts", ["end", "repack", *[s.__name__ for s in reversed(STARTS)]])


def test_the_lock_of_a_dead_daemons_child_is_waited_for():
    with Drydock(files={"/a": "a"}, accounts=()) as d:
        d.stop()
        dead = subprocess.Popen(["true"])
        dead.wait()
        with open(d.data / "lock", "r+") as f:
            f.truncate(0)
            f.write(f"{dead.pid}\n")
            f.flush()
            fcntl.flock(f, fcntl.LOCK_EX)
            threading.Timer(1, f.close).start()
            d.start()
        # One that lives is told of at once.
        again = d.run(*d.argv(), check=False)
        assert again.returncode == 6 and "in use by another drydockd" in again.stderr
