"""Releases: what DryDock says about them holds for git, ssh-keygen and sha256sum, which know nothing of DryDock."""
import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from drydock import Drydock  # noqa: E402

PAGES = {"/index.html": "<h1>one</h1>", "/docs/a b.html": "a", "/docs/-": "dash", "/-": "lone", "/back\\slash": "b", "/docs/index.html": "index"}


def ctl(d, *args, code=0):
    r = d.cli(*args)
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout


def papers(d, number, place):
    for paper in ("head", "signature", "files"):
        (place / paper).write_text(ctl(d, "release", "show", str(number), "--paper", paper))
    return json.loads((place / "head").read_text())


def test_stock_tools_check_a_release(tmp_path):
    with Drydock(files=PAGES, accounts=()) as d:
        d.sign("/", recursive=True)
        d.sync()
        d.write("/docs/a b.html", "changed")
        d.write("/run", "#!/bin/sh\n", executable=True)
        d.sign("/docs/a b.html", "/run")
        d.revoke("/docs/index.html")
        d.sync()
        signers = d.data / "allowed_signers"
        first, second = tmp_path / "1", tmp_path / "2"
        first.mkdir()
        second.mkdir()
        one, two = papers(d, 1, first), papers(d, 2, second)
        assert (one["number"], two["number"], two["term"], one["previous"]) == (1, 2, 1, "")
        sha = lambda f: subprocess.run(["sha256sum", f], capture_output=True, text=True).stdout.split()[0]  # noqa: E731
        assert two["previous"] == sha(first / "head")
        for place, head in ((first, one), (second, two)):
            assert head["files"]["sha256"] == sha(place / "files")
            verify = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "node@drydock.invalid", "-n", "drydock-release", "-s", str(place / "signature")]
            assert subprocess.run(verify, stdin=open(place / "head"), capture_output=True).returncode == 0
            forged = (place / "head").read_text().replace('"number":', '"number":1')
            assert subprocess.run(verify, input=forged.encode(), capture_output=True).returncode != 0
        # The list is that of production, names that sha256sum escapes or takes for options included.
        check = subprocess.run(["sha256sum", "--strict", "-c", second / "files"], cwd=d.production, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert check.returncode == 0, check.stdout + check.stderr
        assert len(check.stdout.splitlines()) == len(d.live()) == two["files"]["count"]
        assert two["files"]["size"] == sum(map(len, d.live().values()))
        # git: the tag, the commit, the tree.
        d.git("verify-tag", "release/2")
        d.git("verify-commit", "main")
        assert d.git("rev-parse", "main^{tree}").stdout.strip() == two["tree"]
        assert d.git("rev-parse", "release/1^{tree}").stdout.strip() == one["tree"]
        # The command line, and where a public address comes from.
        assert all(line.startswith(("ok", "production holds release 2")) for line in ctl(d, "release", "verify", "2").splitlines())
        assert ctl(d, "release", "diff", "2") == "change  /docs/a b.html\nremove  /docs/index.html\nadd     /run\n"
        assert ctl(d, "release", "diff", "2", "1").count("\n") == 3
        told = json.loads(ctl(d, "release", "whence", "https://www.example.org/docs/a%20b.html?x=1#y", "--json"))
        assert told["path"] == "/docs/a b.html" and told["since"] == 2 and told["sha256"] == sha(d.production / "docs" / "a b.html")
        (there,) = told["targets"]
        assert there.pop("confirmed_at") and there.pop("differs") is there.pop("differs_since") is there.pop("waits_until") is None
        assert there == {"name": "production", "release": 2, "state": "confirmed", "has_it": True, "gone": False, "since": 2, "confirmed": True}
        assert json.loads(ctl(d, "release", "whence", "https://www.example.org", "--json"))["path"] == "/index.html"
        assert json.loads(ctl(d, "release", "whence", "/-", "--json"))["since"] == 1
        ctl(d, "release", "whence", "/docs/index.html", code=2)
        ctl(d, "release", "show", "3", code=2)
        # Damage is told: a tag's object is one thing, the tree that was approved another.


def test_papers_are_for_admins():
    with Drydock(files=PAGES, accounts=()) as d:
        d.add_account("alice", "view", "/docs")
        d.sign("/", recursive=True)
        d.sync()
        alice = d.login("alice")
        for paper in ("head", "signature", "files", "verify"):
            assert alice.get(d.api_site(f"/releases/1/{paper}")).status_code in (403, 404)
        # Of a difference, and of where a file comes from, each sees what he may see.
        items = alice.get(d.api_site("/releases/1/diff")).json()["items"]
        assert items and all(i["path"].startswith("/docs/") for i in items)
        assert alice.get(d.api_site("/whence?path=/docs/a%20b.html")).json()["release"] == 1
        assert alice.get(d.api_site("/whence?path=/index.html")).status_code == 404
        assert alice.get(d.api_site("/whence?path=/")).status_code == 404
