"""Stopped at each failpoint of a start after a crash and of an orderly end, and while the repository is put together."""
from walking import STARTS, World, share


def test_stopped_at_each_step_of_a_start_and_an_end():
    with World() as world:
        share(world, "starts", ["end", "repack", *[s.__name__ for s in reversed(STARTS)]])
