"""The server stopped at each failpoint of a sync: pick-up, release, lists of files, export, kits, what came of it."""
from walking import ACTS, SYNCS, World, share


def test_stopped_at_each_step_of_a_sync():
    with World() as world:
        share(world, "syncs", [s.__name__ for s in SYNCS + ACTS])
