"""The page of a run that is on, where no scripts run: it loads itself again until the run is over."""
import os
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock  # noqa: E402
from waiting import until  # noqa: E402

REFRESH = '<noscript><meta http-equiv="refresh" content="2"></noscript>'


def test_loads_itself_again_while_it_is_on():
    with Drydock(files={"/index.html": "<h1>hi</h1>"}, start=False) as d:
        kits, gate = d.dir / "kits", d.dir / "gate"
        kits.mkdir()
        # A kit opens its end of the pipe for reading, and waits until the test opens the other.
        os.mkfifo(gate, 0o666)
        (kits / "own").write_text('#!/bin/sh\necho begun\nread line <"$DRYDOCK_PLACE/gate"\necho "$line"\n')
        (kits / "own").chmod(0o755)
        os.rename(gate, d.production / "gate")
        d.conf.write_text(f'kits = "{kits}"\n' + d.conf.read_text().replace('kit = "local"', 'kit = "own"'))
        d.start()
        d.add_account("alice")
        alice = d.login("alice")
        d.must("POST", d.api_site("/sign"), {"paths": ["/index.html"], "as_staged": True})
        d.must("POST", d.api_site("/sync/force"), {"reason": "look at it"})
        runs = d.api_site("/sync/runs")
        run = until(lambda: [r for r in d.must("GET", runs)["items"] if not r.get("finished_at")])[0]["run"]
        page = until(lambda: (text := alice.get(f"/s/www/sync/{run}").text) and "begun" in text and text)
        assert REFRESH in page and "not yet" in page
        with open(d.production / "gate", "w") as f:
            f.write("it is over\n")
        until(lambda: [r for r in d.must("GET", runs)["items"] if r["run"] == run and r.get("finished_at")])
        page = alice.get(f"/s/www/sync/{run}").text
        assert "it is over" in page and "not yet" not in page and "http-equiv" not in page
