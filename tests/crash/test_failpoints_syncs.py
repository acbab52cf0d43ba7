"""The server stopped at each failpoint of a sync: pick-up, release, lists of files, export, kits, what came of it."""
import threading
import time

from walking import ACTS, SYNCS, World, force, must, rollback, share, sign


def test_stopped_at_each_step_of_a_sync():
    with World() as world:
        share(world, "syncs", [s.__name__ for s in SYNCS + ACTS])


def test_a_list_asked_for_before_it_is_kept():
    """Between the decision of a release and the keeping of its list somebody asks for it: the next releases still have one."""
    with World() as world:
        must(world, force(world))
        world.settle()
        for scenario in (force, rollback):
            act = scenario(world)
            number = world.d.must("GET", world.d.api_site("/sync"))["release"]
            world.fp.reset()
            world.fp.delay("release_cut", 1000)
            asking = threading.Thread(target=must, args=(world, act))
            asking.start()
            while not world.fp.happened:
                time.sleep(0.01)
            listed = world.d.must("GET", world.d.api_site(f"/releases/{number + 1}/files"))
            asking.join()
            world.settle()
            assert all(path[1:].encode() in listed for path in act.approves), listed
        must(world, sign(world))
        must(world, force(world))
        assert world.settle() and world.d.live() == world.approved
        # One that is lost while the server runs is made again.
        for place in (world.d.data / "sites/www/releases").glob("net.*"):
            place.unlink()
        must(world, force(world))
        world.settle()
        must(world, force(world))
        assert world.settle() and world.d.live() == world.approved
