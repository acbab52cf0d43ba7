"""Sync with kits that work, fail, hang, talk too much or want out: what production gets, and what the runs say."""
import os
import pathlib
import stat
import subprocess
import sys
import threading
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))

from clock import Clock  # noqa: E402
from drydock import Drydock  # noqa: E402
from waiting import until  # noqa: E402

BUILD = pathlib.Path(os.environ.get("DRYDOCK_BUILD", TOP / "build"))
# What a kit of the test's own does to be believed: DryDock reads the place again.
COPY = 'rm -rf "$DRYDOCK_PLACE"/[a-z]*; cp -a "$DRYDOCK_EXPORT/." "$DRYDOCK_PLACE/" || exit 9\n'
PAGES = {"/index.html": "<h1>one</h1>", "/docs/a.html": "a", "/docs/b.html": "b"}


def add_target(d, name, kit, place=None, extra=""):
    """A second target beside production, with a kit of the test's own directory."""
    place = place or d.dir / f"place-{name}"
    pathlib.Path(place).mkdir(exist_ok=True)
    d._own(place)
    text = d.conf.read_text().rstrip()
    assert text.endswith("}")
    d.conf.write_text(f'kits = "{d.dir}/kits"\n' * ("kits =" not in text) + text[:-1] +
                      f'\ttarget "{name}" {{\n\t\tkit = "{kit}"\n\t\tplace = "{place}"\n\t\t{extra}\n\t}}\n}}\n')
    return pathlib.Path(place)


def write_kit(d, name, text):
    kits = d.dir / "kits"
    kits.mkdir(exist_ok=True)
    kit = kits / name
    kit.write_text(text)
    kit.chmod(0o755)


def output(run, target):
    return next(t for t in run["targets"] if t["name"] == target)["output"]


def state(run, target):
    return next(t for t in run["targets"] if t["name"] == target)["state"]


def runs(d):
    """The newest first."""
    return d.must("GET", d.api_site("/sync/runs"))["items"]


@pytest.fixture
def stopped():
    with Drydock(files=PAGES, accounts=(), start=False) as d:
        yield d


def test_conformance_of_local():
    r = subprocess.run([TOP / "sync-scripts" / "conformance", BUILD / "sync-scripts" / "local"], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout
    assert r.stdout.splitlines()[-1].endswith(" passed, 0 failed")


def test_conformance_finds_bad_kits(tmp_path):
    kit = tmp_path / "rsync-by-time"
    kit.write_text('#!/bin/sh\nexec rsync -a --delete "$DRYDOCK_EXPORT/" "$DRYDOCK_PLACE/"\n')
    kit.chmod(0o755)
    r = subprocess.run([TOP / "sync-scripts" / "conformance", kit], capture_output=True, text=True)
    assert r.returncode == 1
    assert "FAILED  in full mode bytes decide, not size and time" in r.stdout


def test_what_a_kit_is_given(stopped):
    d = stopped
    write_kit(d, "show", '#!/bin/sh\n' + COPY + 'echo "args $#: $*"; env | sort; pwd; ls -A; cat\n'
                         '[ "$DRYDOCK_MODE" = full ] || tr "\\0" "\\n" <"$DRYDOCK_CHANGES"\n')
    add_target(d, "show", "show", extra='option = {"key-file=/a b", "x=y=z"}')
    d.start(env={"SECRET_OF_THE_DAEMON": "1"})
    d.sign("/", recursive=True)
    run = d.sync()
    text = output(run, "show")
    assert "args 1: sync\n" in text
    assert "SECRET_OF_THE_DAEMON" not in text
    for line in ("DRYDOCK_SITE=www", "DRYDOCK_TARGET=show", "DRYDOCK_RELEASE=1", "DRYDOCK_PREVIOUS=0", "DRYDOCK_MODE=full",
                 "DRYDOCK_OPTION_KEY_FILE=/a b", "DRYDOCK_OPTION_X=y=z"):
        assert line + "\n" in text
    d.write("/index.html", "<h1>two</h1>")
    d.write("/new.html", "new")
    d.remove("/docs/a.html")
    d.sign("/index.html", "/new.html")
    d.revoke("/docs/a.html")
    text = output(d.sync(), "show")
    assert "DRYDOCK_MODE=changes\n" in text and "DRYDOCK_PREVIOUS=1\n" in text
    assert "\nR docs/a.html\nC index.html\nA new.html\n" in text


def test_a_failing_kit_does_not_hold_up_the_others(stopped):
    d = stopped
    flag = d.dir / "mend"
    write_kit(d, "bad", f'#!/bin/sh\nif [ -e "$DRYDOCK_PLACE/.mended" ]; then {COPY}echo "mode $DRYDOCK_MODE release $DRYDOCK_RELEASE"; exit 0; fi\n'
                        'echo \'{"error":"the other side does not answer"}\'; exit 3\n')
    place = add_target(d, "bad", "bad")
    d.start()
    d.sign("/", recursive=True)
    run = d.sync(state="failed")
    assert "bad: the other side does not answer" in run["message"]
    assert state(run, "production") == "confirmed" and state(run, "bad") == "failed"
    assert d.live() == {path: content.encode() for path, content in PAGES.items()}
    targets = {t["name"]: t for t in d.must("GET", d.api_site("/sync"))["targets"]}
    assert targets["production"]["state"] == "confirmed" and targets["bad"]["state"] == "failed"
    # What came meanwhile is sent with it: always the newest release, and by a full comparison.
    (place / ".mended").touch()
    d.write("/index.html", "<h1>two</h1>")
    d.sign("/index.html")
    run = d.sync()
    assert output(run, "bad") == "mode full release 2\n"
    assert not flag.exists()


def test_a_failed_target_is_tried_again_by_itself(stopped):
    d = stopped
    write_kit(d, "once", '#!/bin/sh\nif [ -e "$DRYDOCK_PLACE/.tried" ]; then\n' + COPY + 'exit 0; fi\ntouch "$DRYDOCK_PLACE/.tried"; exit 1\n')
    add_target(d, "once", "once")
    clock = Clock(d.dir / "clock", own=d._own)
    d.start(env=clock.env)
    d.sign("/index.html")
    d.sync(state="failed")
    clock.sleep(16)
    last = until(lambda: [r for r in runs(d)[:1] if r["trigger"] == "retry" and r["state"] != "running"])[0]
    run = d.must("GET", d.api_site(f"/sync/runs/{last['run']}"))
    assert run["trigger"] == "retry" and run["state"] == "ok"
    assert [t["name"] for t in run["targets"]] == ["once"]


LIES = {
    "sends nothing": "exit 0",
    "one byte changed": COPY + 'printf "<h1>onf</h1>" >"$DRYDOCK_PLACE/index.html"',
    "cut short": COPY + ': >"$DRYDOCK_PLACE/docs/b.html"',
    "one missing": COPY + 'rm "$DRYDOCK_PLACE/docs/a.html"',
    "a link in its place": COPY + 'rm "$DRYDOCK_PLACE/index.html"; ln -s "$DRYDOCK_EXPORT/index.html" "$DRYDOCK_PLACE/index.html"',
    "a directory that is a link": COPY + 'mv "$DRYDOCK_PLACE/docs" "$DRYDOCK_PLACE/other"; ln -s other "$DRYDOCK_PLACE/docs"',
    "a pipe in its place": COPY + 'rm "$DRYDOCK_PLACE/index.html"; mkfifo "$DRYDOCK_PLACE/index.html"',
    "executable": COPY + 'chmod +x "$DRYDOCK_PLACE/index.html"',
    "a receipt of its own": 'echo \'{"receipt":"{}","signature":"x"}\'',
}


def test_a_kit_that_says_it_did(stopped):
    """It ends with 0, and the place is not what was signed: unconfirmed, told, and mended by an honest one."""
    d = stopped
    for i, text in enumerate(LIES.values()):
        write_kit(d, f"liar{i}", f'#!/bin/sh\nif [ -e "$DRYDOCK_PLACE/.honest" ]; then\n{COPY}exit 0; fi\n{text}\n')
        add_target(d, f"liar{i}", f"liar{i}")
    d.start()
    d.sign("/", recursive=True)
    run = d.sync(state="failed")
    for i, name in enumerate(LIES):
        assert state(run, f"liar{i}") == "unconfirmed", (name, run)
        assert f"liar{i}: the kit ended well, and /" in run["message"] or len(run["message"]) > 400
    targets = {t["name"]: t for t in d.must("GET", d.api_site("/sync"))["targets"]}
    assert targets["production"]["confirmed"] and targets["production"]["state"] == "confirmed" and not targets["liar0"]["confirmed"]
    assert targets["liar0"]["release"] == 0 and targets["liar0"]["retry_at"]
    for i in range(len(LIES)):
        (d.dir / f"place-liar{i}" / ".honest").touch()
    run = d.sync()
    assert {t["state"] for t in run["targets"]} == {"confirmed"}
    # By the list of changes too, and a removal counts.
    for i in range(len(LIES)):
        (d.dir / f"place-liar{i}" / ".honest").unlink()
        write_kit(d, f"liar{i}", f"#!/bin/sh\n{'exit 0' if i else COPY + 'echo x >$DRYDOCK_PLACE/docs/b.html'}\n")
    d.remove("/docs/b.html")
    d.revoke("/docs/b.html")
    run = d.sync(state="failed")
    assert {t["state"] for t in run["targets"] if t["name"] != "production"} == {"unconfirmed"}, run
    assert "/docs/b.html is still at the place" in run["message"]
    # It may name any file: only who sees all of them reads it.
    d.add_account("carl", role="view", path="/index.html")
    seen = d.login("carl").get(f"/api/v1/sites/www/sync/runs/{run['run']}").json()
    assert seen["run"] == run["run"] and seen["message"] is None and "b.html" not in str(seen)


def test_a_hung_kit_is_ended(stopped):
    d = stopped
    write_kit(d, "hung", '#!/bin/sh\ntrap "" TERM\necho "I hang"; sleep 300 & wait; sleep 300\n')
    add_target(d, "hung", "hung", extra='deadline = "1s"')
    d.start()
    d.sign("/index.html")
    start = time.monotonic()
    run = d.sync(state="failed")
    assert time.monotonic() - start < 20
    assert "longer than 1 s" in run["message"] and output(run, "hung") == "I hang\n"
    processes = subprocess.run(["pgrep", "-f", str(d.dir / "kits" / "hung")], capture_output=True, text=True).stdout
    assert processes == ""


def test_too_much_output_is_capped_and_made_visible(stopped):
    d = stopped
    write_kit(d, "chatty", '#!/bin/sh\n' + COPY + 'printf "\\033[31mred\\377\\n"; head -c 3000000 /dev/zero | tr "\\0" x; echo\n')
    add_target(d, "chatty", "chatty")
    d.start()
    d.sign("/index.html")
    text = output(d.sync(), "chatty")
    assert len(text.encode()) <= 256 * 1024 and text.startswith("␛[31mred�\n")


def test_stopping_the_server_interrupts_a_kit(stopped):
    d = stopped
    write_kit(d, "slow", '#!/bin/sh\nif [ -e "$DRYDOCK_PLACE/.go" ]; then\n' + COPY + 'exit 0; fi\necho started\nsleep 300\n')
    place = add_target(d, "slow", "slow")
    d.start()
    d.sign("/index.html")
    d.must("POST", d.api_site("/sync/force"), {"reason": "a test"})
    until(lambda: d.must("GET", d.api_site("/sync"))["running"])
    # Signing goes on meanwhile, and does not reach the run.
    d.write("/late.html", "late")
    d.sign("/late.html")
    start = time.monotonic()
    assert d.stop() == 0
    assert time.monotonic() - start < 15
    (place / ".go").touch()
    d.start()
    until(lambda: runs(d)[0]["state"] == "ok")
    assert any(r["state"] == "interrupted" for r in runs(d))


def test_a_missing_kit_and_one_that_is_no_program(stopped):
    d = stopped
    write_kit(d, "plain", "not a program")
    (d.dir / "kits" / "plain").chmod(0o644)
    add_target(d, "none", "none")
    add_target(d, "plain", "plain")
    d.start()
    d.sign("/index.html")
    run = d.sync(state="failed")
    assert "none: There is no kit none" in run["message"] and "not executable" in run["message"]
    # In this run, or in the one that each server begins with.
    assert {t["name"]: t["state"] for t in d.must("GET", d.api_site("/sync"))["targets"]}["production"] == "confirmed"


def has_landlock():
    try:
        return "landlock" in pathlib.Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return True


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no landlock")
def test_confinement(stopped):
    d = stopped
    write_kit(d, "curious", '#!/bin/sh\n' + COPY + 'for f in ../../../../node.key ../../../../db.secret "$DRYDOCK_EXPORT/../repo.git/HEAD" '
                            '; do if cat "$f" >/dev/null 2>&1; then echo "read $f"; fi; done\n'
                            'for f in /tmp "$DRYDOCK_EXPORT/.." "$HOME/../.." /proc/1; do if ls -A "$f/" >/dev/null 2>&1; then echo "listed $f"; fi; done\n'
                            'for f in "$DRYDOCK_EXPORT/evil" /tmp/drydock-evil-$$ "$DRYDOCK_EXPORT/index.html"; do '
                            'if (echo evil >"$f") 2>/dev/null; then echo "wrote $f"; fi; done\n'
                            'echo mine >"$DRYDOCK_PLACE/mine" && echo scratch >"$TMPDIR/scratch" && cat "$DRYDOCK_EXPORT/index.html"\n')
    place = add_target(d, "curious", "curious")
    d.start()
    d.sign("/index.html")
    text = output(d.sync(), "curious")
    assert text == "<h1>one</h1>\n" or text == "<h1>one</h1>", text
    assert (place / "mine").read_text() == "mine\n"


def test_local_adopts_only_when_told(stopped):
    d = stopped
    foreign = d.production / "foreign.html"
    foreign.write_text("was here before")
    d._own(foreign)
    d.start()
    d.sign("/index.html")
    run = d.sync(state="failed")
    assert "adopt=yes" in run["message"]
    assert foreign.exists() and not (d.production / "index.html").exists()
    d.stop()
    d.conf.write_text(d.conf.read_text().replace('kit = "local"', 'kit = "local"\n\t\toption = {"adopt=yes"}'))
    d.start()
    d.sync()
    assert d.live() == {"/index.html": b"<h1>one</h1>"}


def test_production_damaged_by_hand(stopped):
    """What leaves the list alone is repaired as soon as something fails: by a full comparison."""
    d = stopped
    d.start()
    d.sign("/", recursive=True)
    d.sync()
    (d.production / "docs" / "a.html").unlink()
    (d.production / "docs" / "b.html").unlink()
    (d.production / "docs").rmdir()
    (d.production / "docs").symlink_to(d.dir)
    d.write("/docs/a.html", "a2")
    d.sign("/docs/a.html")
    d.sync(state="failed")
    d.sync()
    assert d.live() == {"/index.html": b"<h1>one</h1>", "/docs/a.html": b"a2", "/docs/b.html": b"b"}
    assert not (d.production / "docs").is_symlink() and not (d.dir / "a.html").exists()


def test_modes_and_times(stopped):
    d = stopped
    d.write("/run.cgi", "#!/bin/sh\n", executable=True)
    d.start()
    d.sign("/", recursive=True)
    d.sync()
    mode = lambda p: stat.S_IMODE((d.production / p).stat().st_mode)  # noqa: E731
    assert mode("run.cgi") == 0o755 and mode("index.html") == 0o644 and mode("docs") == 0o755
    first = (d.production / "index.html").stat().st_mtime
    # The same size within the same second: no quick check takes the two versions for one.
    d.write("/index.html", "<h1>two</h1>")
    d.sign("/index.html")
    d.sync()
    assert (d.production / "index.html").stat().st_mtime >= first + 1


def test_many_forces_at_once(stopped):
    d = stopped
    d.start()
    d.sign("/index.html")
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(d.api("POST", d.api_site("/sync/force"), {"reason": "all at once"})[0]))
               for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(200 <= c < 300 for c in codes)

    def over():
        now = d.must("GET", d.api_site("/sync"))
        return not now["running"] and now["release"] == 1 and now["because"] != "forced"
    until(over)
    assert all(r["state"] in ("ok", "nothing") for r in runs(d))
    assert d.live() == {"/index.html": b"<h1>one</h1>"}


def test_the_quiet_period(stopped):
    d = stopped
    d.conf.write_text(d.conf.read_text().replace("\tstaging =", '\tquiet_period = "1s"\n\tstaging =', 1))
    d.start()
    d.sign("/index.html")
    run = until(lambda: [r for r in runs(d)[:1] if r.get("release") and r["state"] != "running"])[0]
    assert d.live() == {"/index.html": b"<h1>one</h1>"}
    assert run["trigger"] == "quiet" and run["added"] == 1


def test_a_first_run_that_was_broken_off_does_not_lock_the_target():
    """What it had placed is ours, although a newer release has other bytes by now. A stranger's file is still kept."""
    with Drydock(files={"/a.html": "new", "/b.html": "b"}, accounts=()) as d:
        (d.production / "a.html").write_text("of the release before, placed by the run that was ended")
        d._own(d.production / "a.html")
        d.sign("/", recursive=True)
        refused = d.sync(state="failed")
        assert "did not put there" in refused["message"], refused
        assert (d.production / "a.html").read_text().startswith("of the release before") and len(list(d.production.iterdir())) == 1
        mark = d.production / ".drydock-new-begun"
        mark.write_text("")
        d._own(mark)
        d.sync()
        assert d.live() == {"/a.html": b"new", "/b.html": b"b"}
