"""Stopped at each failpoint of the private MariaDB: installed, started, found again, watched, ended."""
from walking import Private, private_strikes, share


def test_stopped_at_each_step_of_the_private_database():
    with Private() as world:
        share(world, "private", ["end", "begin", "database", "install"], private_strikes)
