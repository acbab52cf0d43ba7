"""The server stopped (SIGKILL) at each failpoint of an act, once. The whole of it, every place, every time that it is reached,
every kind of act: tests/crash/walk."""
from failpoints import NAMES
from walking import ACTS, SYNCS, World, group_of, share


def test_every_failpoint_belongs_to_a_test():
    assert len(NAMES) >= 100 and len(set(NAMES)) == len(NAMES)
    assert not [n for n in NAMES if group_of(n) is None]


def test_stopped_at_each_step_of_an_act():
    with World() as world:
        share(world, "acts", [s.__name__ for s in ACTS + SYNCS])
