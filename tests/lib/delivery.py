"""Deliveries to drydock-receive made by hand, honest and forged: heads, lists and archives with any part replaced."""
import base64
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

from drydock import program


def sha(data):
    return hashlib.sha256(data).hexdigest()


def stamp(offset=0):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + offset))


class Signer:
    """A node's key, and what it signs."""

    def __init__(self, place):
        self.key = pathlib.Path(tempfile.mkdtemp(prefix="signer-", dir=place)) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.public = self.key.with_suffix(".pub").read_text().split()[:2]
        self.node = sha(base64.b64decode(self.public[1]))

    def line(self, options='namespaces="git,drydock-release,drydock-receipt"'):
        return f"node@drydock.invalid {options} {' '.join(self.public)}\n"

    def sign(self, data, space="drydock-release"):
        return subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", self.key, "-n", space], input=data, capture_output=True, check=True).stdout


class Release:
    """One release: {path: bytes}; every part may be changed before it is packed."""

    def __init__(self, signer, number, files, before=None, **members):
        self.signer, self.number, self.files = signer, number, dict(files)
        self.lines = {p: f"+\t{sha(d)}\t{len(d)}\t-\t{1700000000000000 + number}\t{number}\tunix:alice\t{p}\n" for p, d in files.items()}
        if before:  # a line is that of the release that changed the file
            for p in self.files:
                if before.files.get(p) == self.files[p]:
                    self.lines[p] = before.lines[p]
        order = sorted(self.files, key=str.encode)
        self.manifest = "".join(self.lines[p] for p in order).encode()
        escaped = {p: p[1:].replace("\\", "\\\\") for p in order}
        plain = "".join(f"{chr(92) * (chr(92) in p)}{sha(self.files[p])}  {escaped[p]}\n" for p in order).encode()
        head = {"v": 1, "site": "www", "node": signer.node, "number": number, "term": 1, "tree": "0" * 40, "at": stamp(), "expires": stamp(3600),
                "previous": sha(before.head) if before else "", "files": {"count": len(files), "size": sum(map(len, files.values())), "sha256": sha(plain)},
                "manifest": {"sha256": sha(self.manifest)}, "record": {"seq": number + 1, "sha256": sha(b"%d" % number)}}
        head.update(members)
        self.head = json.dumps(head, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        self.signature = signer.sign(self.head)

    def difference(self, base):
        out = []
        for p in sorted(set(self.files) | set(base.files), key=str.encode):
            if p not in self.files:
                out.append(f"-\t{p}\n")
            elif base.lines.get(p) != self.lines[p]:
                out.append(self.lines[p])
        return "".join(out).encode()

    def members(self, base=None, heads=(), need=None):
        """What a sender sends: [(name, bytes)]; base: what the receiver holds."""
        out = [m for h in (*heads, self) for m in ((f"release/{h.number}", h.head), (f"release/{h.number}.sig", h.signature))]
        out.append(("difference", self.difference(base)) if base else ("manifest", self.manifest))
        held = base.files if base else {}
        for p in sorted(self.files, key=str.encode):
            if (held.get(p) != self.files[p]) if need is None else p in need:
                out.append(("files" + p, self.files[p]))
        return out


def pack(members):
    """A tar of members; a member may be a TarInfo of any kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for m in members:
            if isinstance(m, tarfile.TarInfo):
                tar.addfile(m)
            else:
                info = tarfile.TarInfo(m[0])
                info.size = len(m[1])
                tar.addfile(info, io.BytesIO(m[1]))
    return out.getvalue()


class Receiver:
    """A state directory of drydock-receive."""

    def __init__(self, signer, site="www", rest=0, at=None):
        self.dir = pathlib.Path(at or tempfile.mkdtemp(prefix="drydock-receive-"))
        self.state = self.dir / "state"
        signers = self.dir / "signers"
        signers.write_text(signer.line())
        self.command("init", "--site", site, "--signers", signers)
        config = self.state / "config"
        config.write_text(config.read_text().replace("rest 30", f"rest {rest}"))

    def command(self, *args, code=0, name="drydock-receive", input=b"", env=None):
        r = subprocess.run([program(name), args[0], self.state, *args[1:]], input=input, capture_output=True, env=env)
        if code is not None:
            assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
        return r

    def deliver(self, data, **kw):
        """The last line that it answers, decoded."""
        if not isinstance(data, bytes):
            data = pack(data)
        r = self.command("receive", input=data, code=None, **kw)
        lines = [line for line in r.stdout.splitlines() if line.startswith(b"{")]
        return json.loads(lines[-1]) if lines else None

    def asked(self, release, base=None):
        """The paths whose bytes it wants, of a whole list without base; or its answer, if it wants to hear no more."""
        lines = self.command("receive", input=pack(release.members(base, need=())), code=None).stdout.split(b"\n")
        if b"need" not in lines:
            return json.loads(lines[-2])
        lines = lines[lines.index(b"need") + 1:]
        listed = [p for p in sorted(release.files, key=str.encode) if not base or base.lines.get(p) != release.lines[p]]
        ranges = [map(int, line.split(b"-")) for line in lines[:lines.index(b".")]]
        return [p for low, high in ranges for p in listed[low:high + 1]]

    def take_up(self, release, base=None):
        """Deliver as a kit does: only the files that the receiver asks for."""
        asked = self.asked(release, base)
        return asked if isinstance(asked, dict) else self.deliver(release.members(base, need=asked))

    def live(self):
        top = self.state / "live"
        return {"/" + str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def accepted(self):
        try:
            return json.loads((self.state / "accepted").read_text())
        except FileNotFoundError:
            return {"number": 0}

    def close(self):
        shutil.rmtree(self.dir)
