"""Where messages end in tests: a mail server and a web hook on loopback that keep what they get.

    with MailSink() as mail:      # mail.port; mail.got: list of (sender, recipients, text); mail.refuse = "550 no"
    with HookSink() as hook:      # hook.port; hook.got: list of (path, headers, body); hook.status = 500
"""
import base64
import contextlib
import http.server
import socketserver
import ssl
import subprocess
import threading


def certificate(place, name, address="127.0.0.1"):
    """A certificate that signs itself, for one address: (certificate, key)."""
    crt, key = place / f"{name}.crt", place / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key


def tls(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


class MailSink(contextlib.AbstractContextManager):
    """SMTP (RFC 5321) as far as a client that delivers needs it; with a login if `login` is (user, password)."""

    def __init__(self, login=None, starttls=False, host="127.0.0.1", smtps=None):
        """starttls: True offers what it has not got; or a pair of certificate and key, as smtps is one."""
        self.got, self.refuse, self.login, self.starttls = [], None, login, starttls
        self.commands = []
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            safe = False

            def say(self, text):
                self.wfile.write(text.encode() + b"\r\n")

            def secure(self, pair):
                try:
                    self.connection = tls(pair).wrap_socket(self.connection, server_side=True)
                except OSError:
                    return False  # it does not trust us
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                self.safe = True
                return True

            def handle(self):
                if smtps and not self.secure(smtps):
                    return
                self.say("220 sink ESMTP")
                while self.talk():
                    pass

            def talk(self):
                """True: it is over TLS from here on, and begins once more."""
                sender, to, known = "", [], sink.login is None
                for raw in self.rfile:
                    line = raw.decode().rstrip("\r\n")
                    sink.commands.append(line)
                    word = line.upper()
                    if word.startswith(("EHLO", "HELO")):
                        offers = ["sink"] + ["STARTTLS"] * bool(sink.starttls and not self.safe) + ["AUTH PLAIN"] * (sink.login is not None)
                        for i, offer in enumerate(offers):
                            self.say(f"250{'-' if i + 1 < len(offers) else ' '}{offer}")
                    elif word == "STARTTLS" and isinstance(sink.starttls, tuple):
                        self.say("220 go ahead")
                        return self.secure(sink.starttls)
                    elif word.startswith("AUTH PLAIN"):
                        said = line[10:].strip()
                        if not said:
                            self.say("334 ")
                            said = self.rfile.readline().decode().strip()
                        known = tuple(base64.b64decode(said).decode().split("\0")[1:]) == sink.login
                        self.say("235 welcome" if known else "535 who are you")
                    elif word.startswith("MAIL FROM:"):
                        sender, to = line[10:], []
                        self.say("250 ok" if known else "530 log in first")
                    elif word.startswith("RCPT TO:"):
                        if sink.refuse:
                            self.say(sink.refuse)
                            continue
                        to.append(line[8:])
                        self.say("250 ok")
                    elif word == "DATA":
                        self.say("354 go on")
                        text = b""
                        for part in self.rfile:
                            if part == b".\r\n":
                                break
                            text += part[1:] if part.startswith(b".") else part
                        sink.got.append((sender, to, text))
                        self.say("250 taken")
                    elif word == "QUIT":
                        self.say("221 bye")
                        return False
                    else:
                        self.say("502 what")
                return False

        self.server = socketserver.ThreadingTCPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class HookSink(contextlib.AbstractContextManager):
    def __init__(self):
        self.got, self.status, self.location = [], 204, None
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.got.append((self.path, dict(self.headers), body))
                self.send_response(sink.status)
                if sink.location:
                    self.send_header("Location", sink.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
