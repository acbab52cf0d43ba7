"""The commands that write, stopped at each of their failpoints: backup, restore, accept-loss, rebuild, fsck --repair."""
from walking import TOOLS, World, share


def test_stopped_at_each_step_of_a_command():
    with World() as world:
        share(world, "tools", [s.__name__[len("strike_"):] for s in TOOLS])
