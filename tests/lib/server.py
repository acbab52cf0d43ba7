"""A real drydockd for tests in another language: started with the arguments of Drydock() as JSON, says where it is in a
line of JSON, then answers one line with one line, until its standard input ends. "kit": a kit of the test's own, its text.

    {"do": "write", "path": "/a.html", "content": "..."}     {"do": "remove", "path": "/a.html"}
    {"do": "rename", "from": "/a", "to": "/b"}               {"do": "api", "method": "GET", "path": "/api/v1/whoami"}
    {"do": "log_size"}                                       {"do": "log_since", "at": 1234}
    {"do": "hold"}                                           {"do": "release"}
    {"do": "git", "argv": ["log", "--format=%G? %H", "..."]}   what stock git says of the site's repository
"""
import json
import sys

from drydock import PASSWORD, Drydock, real_tree


def do(d, order):
    kind = order["do"]
    if kind == "write":
        d.write(order["path"], order["content"], order.get("executable", False))
    elif kind == "remove":
        d.remove(order["path"])
    elif kind == "rename":
        (d.staging / order["from"][1:]).rename(d.staging / order["to"][1:])
    elif kind == "real_tree":
        return real_tree(d.staging)
    elif kind == "role":
        d.role(order["principal"], order["role"], order["path"])
    elif kind == "api":
        return d.must(order["method"], order["path"], order.get("body"))
    elif kind == "hold":
        # acts wait in their transactions until "release"
        d.holding = d.held()
        d.holding.__enter__()
    elif kind == "release":
        d.holding.__exit__(None, None, None)
    elif kind == "git":
        return d.git(*order["argv"]).stdout
    elif kind == "log":
        return d.log()[-10000:]
    elif kind == "log_size":
        return len(d.log())
    elif kind == "log_since":
        return d.log()[order["at"]:]
    else:
        raise ValueError(kind)
    return None


def with_kit(d, text):
    """Production by a kit of the test's own instead of `local`."""
    kits = d.dir / "kits"
    kits.mkdir()
    (kits / "own").write_text(text)
    (kits / "own").chmod(0o755)
    d.conf.write_text(f'kits = "{kits}"\n' + d.conf.read_text().replace('kit = "local"', 'kit = "own"'))
    d.start()
    for name in d.accounts:
        d.add_account(name)


def main():
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    kit = options.pop("kit", None)
    with Drydock(**options, start=kit is None) as d:
        if kit is not None:
            with_kit(d, kit)
        print(json.dumps({"url": d.url, "demo": f"http://127.0.0.1:{d.demo_port}", "staging": str(d.staging), "production": str(d.production),
                          "password": PASSWORD, "user": d.user}), flush=True)
        for line in sys.stdin:
            try:
                answer = {"ok": do(d, json.loads(line))}
            except Exception as e:  # told to the test, which decides
                answer = {"error": f"{type(e).__name__}: {e}"}
            print(json.dumps(answer), flush=True)


main()
