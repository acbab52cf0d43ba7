"""Extra fields on a terminal: the required ones that are missing are asked for, with a list to choose from."""
import os
import pty
import subprocess

from drydock import Drydock, program


def on_terminal(d, *argv, lines):
    """The command line with a terminal to read from: (exit status, what it printed)."""
    ours, theirs = pty.openpty()
    os.write(ours, "".join(f"{line}\n" for line in lines).encode())
    kw = {"user": d.uid, "group": d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
    r = subprocess.run([program("drydock"), *argv], stdin=theirs, capture_output=True, text=True, timeout=60, cwd=d.dir,
                       env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(d.dir), "DRYDOCK_DATA": str(d.data)}, **kw)
    os.close(ours)
    os.close(theirs)
    return r.returncode, r.stdout + r.stderr


def test_asked_for_what_is_missing():
    with Drydock(files={"/docs/a.html": "a", "/docs/b.html": "b"}) as d:
        fields = d.api_site("/fields")
        d.must("POST", fields, {"path": "/docs", "name": "ticket", "label": "Ticket number", "required": True, "place": 1})
        d.must("POST", fields, {"path": "/docs", "name": "kind", "label": "Kind", "type": "choice", "choices": ["small", "large"], "required": True, "place": 2})
        d.must("POST", fields, {"path": "/docs", "name": "read", "label": "I have read it", "type": "checkbox", "required": True, "place": 3})
        d.must("POST", fields, {"path": "/docs", "name": "due", "label": "Due", "type": "date", "place": 4})
        # One is given, three are asked for... the date is not required and nobody is asked.
        status, said = on_terminal(d, "sign", "--field", "ticket=A-17", "/docs/a.html", lines=["2", "yes", "y"])
        assert status == 0 and "1  small" in said and "2  large" in said and "I have read it (yes or no)" in said and "Due" not in said, said
        record = d.records(path="/docs/a.html")[0]
        assert {k: record["fields"][k] for k in ("ticket", "kind", "read")} == {"ticket": "A-17", "kind": "large", "read": True} and "due" not in record["fields"]
        # What he types is judged by the server like any other; nothing is recorded.
        status, said = on_terminal(d, "sign", "--as-staged", "/docs/b.html", lines=["A-18", "3", "no"])
        assert status != 0 and "not one of the choices" in said, said
        status, said = on_terminal(d, "sign", "--as-staged", "/docs/b.html", lines=["A-18", "small", "no"])
        assert status != 0 and "“I have read it” has to be ticked" in said, said
        assert d.file("/docs/b.html")["state"] == "unsigned"
        status, said = on_terminal(d, "sign", "--as-staged", "/docs/b.html", lines=["A-18", "small", "y"])
        assert status == 0 and d.records(path="/docs/b.html")[0]["fields"]["kind"] == "small", said
