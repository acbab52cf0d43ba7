"""The switch that leaves out checks (server/base/weaken.h) is in no ordinary build, and its list is whole."""
import pathlib
import re

from drydock import Drydock, program

TOP = pathlib.Path(__file__).resolve().parents[2]
ROWS = re.findall(r'^WEAKEN\((\w+), "([^"]*)", "([^"]*)"\)', (TOP / "server/base/weaken.def").read_text(), re.M)


def test_the_programs_do_not_know_the_switch():
    for name in ("drydockd", "drydock"):
        assert b"DRYDOCK_WEAKEN" not in pathlib.Path(program(name)).read_bytes(), name


def test_an_ordinary_server_ignores_it():
    names = ",".join(r[0] for r in ROWS)
    with Drydock(files={"/a.html": "a"}, start=False) as d:
        # a weakened build would end at the second name
        d.start(env={"DRYDOCK_WEAKEN": names + ",no_such_check"})
        d.add_account("alice")
        d.add_account("bob", "view", "/")
        bob = d.login("bob")
        assert bob.post(d.api_site("/sign"), json={"paths": ["/a.html"], "as_staged": True}).status_code == 403
        assert bob.get("/api/v1/users").status_code == 403
        bob.csrf = None
        assert bob.post("/api/v1/logout").status_code == 403
        assert "WEAKEN" not in d.log()


def test_the_list_is_whole():
    used = set()
    for place in sorted((TOP / "server").rglob("*.c")):
        used |= set(re.findall(r"\bWEAK\((\w+)\)", place.read_text()))
    names = [r[0] for r in ROWS]
    assert len(names) == len(set(names)) > 20
    assert used == set(names)
    makefile = (TOP / "Makefile.am").read_text()
    for name, what, test in ROWS:
        assert what, name
        if "::" in test:
            place, function = test.split("::")
            assert re.search(rf"^def {re.escape(function)}\(", (TOP / "tests" / place).read_text(), re.M), test
        else:
            assert f"{test.partition(':')[0]}_SOURCES" in makefile, test
