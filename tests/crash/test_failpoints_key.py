"""Stopped at each failpoint of a change of the node's key."""
from failpoints import WITH_ERROR
from walking import World, points_of, share, strike_key


def test_stopped_at_each_step_of_a_change():
    with World() as world:
        share(world, "key", ["key"])


def test_an_error_at_each_step_of_a_change():
    with World() as world:
        for name in points_of("key"):
            assert name in WITH_ERROR and strike_key(world, lambda name=name: world.fp.error(name), name), name
