"""Errors at the steps of an act, failing calls of base/sys, no memory: a part of what tests/crash/walk does."""
import pytest

from failpoints import WITH_ERROR
from walking import ERRNOS, World, reached, review, sign


@pytest.fixture(scope="module")
def world():
    with World() as w:
        yield w


@pytest.mark.parametrize("scenario", [sign, review])
def test_an_error_at_each_step(world, scenario):
    for name in reached(world, lambda arm: world.strike(scenario, arm)):
        if name in WITH_ERROR:
            world.strike(scenario, lambda: world.fp.error(name), name)  # noqa: B023


@pytest.mark.parametrize("error", list(ERRNOS))
def test_the_nth_call_fails_in_a_signature(world, error):
    """Until none is hit; one of three, beginning with another one for each error."""
    nth, quiet = 1 + list(ERRNOS).index(error) % 3, 0
    before = world.errors
    while quiet < 2:
        quiet = 0 if world.strike(sign, lambda: world.fp.sys(nth, ERRNOS[error])) else quiet + 1  # noqa: B023
        nth += 3
    assert world.errors > before + 5


def test_no_memory_in_a_signature(world):
    reached(world, lambda arm: world.strike(sign, arm))
    for nth in range(1, world.fp.allocations, max(1, world.fp.allocations // 10)):
        world.strike(sign, lambda: world.fp.memory(nth))  # noqa: B023
