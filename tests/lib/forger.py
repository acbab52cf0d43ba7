"""ssh for the kit of tests/kits/test_forged_in_transit.py: the real one, and what goes through it is forged on the way, as the file
`mode` beside it says. Beside it too: `key` (DryDock's own, as a thief would have it), `other` (somebody else's), `old` and
`old.sig` (a head of before)."""
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
import time

HERE = pathlib.Path(sys.argv[0]).parent
MODE = (HERE / "mode").read_text().strip() if (HERE / "mode").exists() else "honest"
LAST = os.environ["DRYDOCK_RELEASE"]
BLOCK = 512


class Cut(Exception):
    pass


def member(name, data, kind=tarfile.REGTYPE, link="", size=None):
    t = tarfile.TarInfo(name)
    t.size, t.type, t.linkname = len(data) if size is None else size, kind, link
    if kind not in (tarfile.REGTYPE,):
        t.size = 0
    return t.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def signed(head, key="key"):
    return subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", HERE / key, "-n", "drydock-release"], input=head, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout


class Forger:
    def __init__(self, out):
        self.out, self.head, self.files, self.seen = out, b"", 0, []

    def again(self, data, key="key", **members):
        """The head of the last release with other members, signed again."""
        self.head = json.dumps({**json.loads(data), **members}, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        self.key = key
        return self.head

    def on_head(self, name, data):
        """What goes in place of the last release's head; its signature is asked for after it."""
        number = json.loads(data)["number"]
        if MODE == "head byte":
            return member(name, data[:40] + bytes([data[40] ^ 1]) + data[41:])
        if MODE == "older":
            return member("release/1", (HERE / "old").read_bytes())
        if MODE == "expired":
            return member(name, self.again(data, expires=time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 5))))
        if MODE == "foreign":
            return member(name, self.again(data, site="other"))
        if MODE == "no term":
            return member(name, self.again(data, term=0))
        if MODE == "same number":
            held = int((HERE / "held").read_text())
            return member(f"release/{held}", self.again(data, number=held))
        if MODE == "wrong key":
            return member(name, self.again(data, key="other"))
        if MODE == "another number":
            return member(name, self.again(data, number=number + 1))
        return member(name, data)

    def on_signature(self, name, data):
        if MODE == "older":
            return member("release/1.sig", (HERE / "old.sig").read_bytes())
        if MODE == "no signature":
            return b""
        if MODE == "same number":
            name = f"release/{(HERE / 'held').read_text().strip()}.sig"
        return member(name, signed(self.head, self.key) if self.head else data)

    def on_list(self, name, data):
        if MODE == "list byte":
            return member(name, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        if MODE == "list flood":
            self.out.write(member(name, b"", size=1 << 40))
            while True:  # until nobody takes it any more
                self.out.write(bytes(1 << 16))
        return member(name, data)

    def on_file(self, name, data):
        self.files += 1
        if self.files > 1:
            return member(name, data)
        if MODE == "file cut":
            self.out.write(member(name, data)[:BLOCK + len(data) // 2])
            raise Cut
        if MODE == "file flood":
            self.out.write(member(name, b"", size=1 << 40))
            while True:
                self.out.write(bytes(1 << 16))
        return {
            "file altered": lambda: member(name, bytes([data[0] ^ 1]) + data[1:]),
            "file missing": lambda: b"",
            "file longer": lambda: member(name, data + b"x"),
            "file more": lambda: member("files/extra", b"x") + member(name, data),
            "link": lambda: member(name, b"", tarfile.SYMTYPE, "/etc/passwd"),
            "hard link": lambda: member(name, b"", tarfile.LNKTYPE, "manifest"),
            "device": lambda: member(name, b"", tarfile.CHRTYPE),
            "fifo": lambda: member(name, b"", tarfile.FIFOTYPE),
            "absolute": lambda: member("/etc/passwd", data),
            "dotdot": lambda: member("files/../../x", data),
        }.get(MODE, lambda: member(name, data))()

    def take(self, name, data):
        if name == f"release/{LAST}":
            return self.on_head(name, data)
        if name == f"release/{LAST}.sig":
            return self.on_signature(name, data)
        if name.startswith("release/") and MODE in ("hole", "same number"):  # those between
            return b""
        if name in ("manifest", "difference"):
            return self.on_list(name, data)
        if name.startswith("files/"):
            return self.on_file(name, data)
        return member(name, data)


def read(n):
    data = b""
    while len(data) < n:
        piece = os.read(0, n - len(data))
        if not piece:
            return data
        data += piece
    return data


def main():
    real = subprocess.Popen(["/usr/bin/ssh", *sys.argv[1:]], stdin=subprocess.PIPE, bufsize=0)
    forger = Forger(real.stdin)
    # As the real one: over when the other side is, whoever still has something to say.
    threading.Thread(target=lambda: os._exit(real.wait()), daemon=True).start()
    try:
        while len(header := read(BLOCK)) == BLOCK:
            if not any(header):
                real.stdin.write(header)
                continue
            t = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            data = read(t.size)
            read(-t.size % BLOCK)
            real.stdin.write(forger.take(t.name, data))
    except (BrokenPipeError, Cut):
        pass
    real.stdin.close()
    threading.Event().wait()


main()
