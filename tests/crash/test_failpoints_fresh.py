"""Stopped at each failpoint of `drydockd init`, of the migrations, and of a first start."""
from walking import World, share


def test_stopped_at_each_step_of_a_first_start():
    with World() as world:
        share(world, "fresh", ["init", "fresh"])
