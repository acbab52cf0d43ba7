"""A MariaDB that DryDock does not start itself, and a proxy before it that cuts connections at a named statement.

    with MariaDB(d.dir, run=d.run, owner=d._own) as server, Proxy(server.socket, d.dir / "proxy.sock") as proxy:
        proxy.cut("record_insert", when="after")        # the next time that statement comes: forwarded, answered, not told
"""
import contextlib
import os
import pathlib
import secrets
import signal
import socket
import struct
import subprocess
import threading
import time

PREPARE, EXECUTE, CLOSE, BULK, QUERY = 0x16, 0x17, 0x19, 0xFA, 0x03


class MariaDB:
    """Stock mariadbd below a directory, on a socket, with a database and an account "drydock" with a password."""

    def __init__(self, directory, d, options=()):
        self.d = d
        self.dir = pathlib.Path(directory) / "outside"
        self.socket = str(self.dir / "sock")
        self.password = secrets.token_hex(8)
        self.process = None
        self.options = options
        for place in (self.dir, self.dir / "tmp"):
            place.mkdir()
            d._own(place)
        d.run("mariadb-install-db", "--no-defaults", f"--datadir={self.dir / 'db'}", f"--tmpdir={self.dir / 'tmp'}", "--skip-test-db",
              "--skip-name-resolve", "--auth-root-authentication-method=socket", f"--auth-root-socket-user={d.user}",
              "--innodb-log-file-size=32M", "--innodb-flush-log-at-trx-commit=0", "--sync-frm=0")
        self.start()
        self.sql("CREATE DATABASE drydock CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", database="")
        self.sql(f"CREATE USER outside@localhost IDENTIFIED BY '{self.password}'; GRANT ALL ON drydock.* TO outside@localhost", database="")

    def start(self):
        kw = {"user": self.d.uid, "group": self.d.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.dir / 'db'}", f"--socket={self.socket}", f"--tmpdir={self.dir / 'tmp'}",
                 f"--pid-file={self.dir / 'pid'}", "--skip-networking", "--skip-name-resolve", "--innodb-log-file-size=32M",
                 "--innodb-buffer-pool-size=16M", "--performance-schema=0", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir, **kw)
        end = time.monotonic() + 60
        while self.sql("SELECT 1", database="", check=False).returncode:
            assert self.process.poll() is None and time.monotonic() < end, (self.dir / "log").read_text()[-3000:]
            time.sleep(0.02)

    def sql(self, text, database="drydock", check=True):
        return self.d.run("mariadb", "--no-defaults", f"--socket={self.socket}", "--batch", "--skip-column-names", *([database] if database else []),
                          "-e", text, check=check)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Cut:
    """Where a connection is to be cut, once."""

    def __init__(self, at, when):
        assert when in ("before", "unheard", "after"), when
        self.at, self.when = at, when
        self.done = threading.Event()


class Proxy:
    """Forwards each connection; knows MySQL's packets well enough to name what the client asks for.

    A command's name is the text of a query (COMMIT), or the first words of a prepared statement's text when it is executed.
    `trace` collects them, per connection, from START TRANSACTION on.
    """

    def __init__(self, server, path):
        self.server, self.path = server, str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(64)
        self.lock = threading.Lock()
        self.cuts, self.transactions, self.pairs = [], [], set()
        self.ending = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, at, when):
        """At the first command for which at(transaction) is true: its connection is cut. transaction: the names of the
        commands since START TRANSACTION, the command included. before: the server does not get it. unheard: it gets it,
        and the connection is gone at once. after: the server's answer is there, the client does not get it."""
        c = Cut(at, when)
        with self.lock:
            self.cuts.append(c)
        return c

    def _due(self, transaction):
        with self.lock:
            for c in self.cuts:
                if c.at(transaction):
                    self.cuts.remove(c)
                    return c
        return None

    def _accept(self):
        while not self.ending:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(self.server)
            except OSError:
                client.close()
                upstream.close()
                continue
            Connection(self, client, upstream)

    def close(self):
        self.ending = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            pairs = list(self.pairs)
        for c in pairs:
            c.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Connection:
    def __init__(self, proxy, client, upstream):
        self.proxy, self.client, self.upstream = proxy, client, upstream
        self.statements, self.preparing = {}, None  # number -> name; the name that waits for its number
        self.transaction = None
        self.hold = None  # a cut: the next answer stays here
        self.deaf = False  # no answer is handed on any more
        with proxy.lock:
            proxy.pairs.add(self)
        for f in (self._from_client, self._from_server):
            threading.Thread(target=f, daemon=True).start()

    def end(self):
        for s in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        with self.proxy.lock:
            self.proxy.pairs.discard(self)

    @staticmethod
    def _packet(s):
        """One packet with its header, or None at the end."""
        out = b""
        while len(out) < 4 or len(out) < 4 + int.from_bytes(out[:3], "little"):
            want = 4 - len(out) if len(out) < 4 else 4 + int.from_bytes(out[:3], "little") - len(out)
            try:
                piece = s.recv(min(want, 1 << 16))
            except OSError:
                return None
            if not piece:
                return None
            out += piece
        return out

    def _name(self, packet):
        kind, body = packet[4], packet[5:]
        if kind == QUERY:
            return body.decode(errors="replace")
        if kind == PREPARE:
            self.preparing = " ".join(body.decode(errors="replace").split()[:4])
            return None
        if kind in (EXECUTE, BULK):
            return self.statements.get(struct.unpack("<I", body[:4])[0], "?")
        return None

    def _from_client(self):
        while True:
            packet = self._packet(self.client)
            if packet is None:
                break
            # Commands start a new sequence; the handshake's answers do not.
            name = self._name(packet) if packet[3] == 0 and len(packet) > 4 else None
            due = None
            if name is not None:
                if name == "START TRANSACTION":
                    self.transaction = []
                    with self.proxy.lock:
                        self.proxy.transactions.append(self.transaction)
                if self.transaction is not None:
                    self.transaction.append(name)
                    due = self.proxy._due(self.transaction)
                    if name in ("COMMIT", "ROLLBACK"):
                        self.transaction = None
            if due and due.when == "before":
                due.done.set()
                break
            if due and due.when == "after":
                self.hold = due
            # From here on no answer is handed on, however quick it is.
            self.deaf = bool(due)
            try:
                self.upstream.sendall(packet)
            except OSError:
                break
            if due and due.when == "unheard":
                # The server must have it before it hears that nobody listens: what is sent before an end is read.
                due.done.set()
                with contextlib.suppress(OSError):
                    self.client.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):
                    self.upstream.shutdown(socket.SHUT_WR)
                return
        self.end()

    def _from_server(self):
        while True:
            packet = self._packet(self.upstream)
            if packet is None:
                break
            if self.preparing and packet[4] == 0 and len(packet) >= 16:
                self.statements[struct.unpack("<I", packet[5:9])[0]] = self.preparing
                self.preparing = None
            elif self.preparing and packet[4] == 0xFF:
                self.preparing = None
            if self.hold:
                self.hold.done.set()
            if self.deaf:
                break
            try:
                self.client.sendall(packet)
            except OSError:
                break
        self.end()
