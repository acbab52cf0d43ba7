"""What outside judges say of a running DryDock; see tests/judges/run."""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/lib"), str(TOP / "tests/web")]

from drydock import PASSWORD, Drydock, free_ports  # noqa: E402

NAME = "drydock.test"
PAGES = {"/index.html": "<h1>one</h1>", "/docs/a.html": "<h1>a</h1><a href=/index.html>home</a>", "/docs/b c&d.html": "b", "/news/n.txt": "n"}
# Of wapiti: (category, what it says) that is answered; the same words are in doc/security.md.
ANSWERED = [
    ("Secure Flag cookie", r"drydock\b", "over plain HTTP on loopback there is no Secure; with an https address the curl part sees Secure and __Host-"),
    ("HTTP Secure Headers", r"X-XSS-Protection", "browsers have taken it out; where it worked it opened holes of its own; the Content-Security-Policy does its work"),
    ("Cross Site Request Forgery", r"^Lack of anti CSRF token", "of /login: nobody is logged in yet, so there is no session to bind a token to; the form is refused unless Origin or Sec-Fetch-Site is ours"),
    ("Htaccess Bypass", r"bypassable weak restriction", "wapiti takes 501 to the method ABC for an answer; it is the refusal of an unknown method and shows nothing"),
    ("HTTP Secure Headers", r"Strict-Transport-Security", "over plain HTTP browsers ignore it; with an https address it is sent, as the curl part sees"),
]
failures = []


def check(ok, what, detail=""):
    print(f"  {'ok  ' if ok else 'FAIL'} {what}", flush=True)
    if not ok:
        failures.append(what)
        print(f"       {str(detail)[-1500:]}")


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, errors="replace", **kw)


# --- nginx with TLS in front -------------------------------------------------------------------------------------------

@contextlib.contextmanager
def nginx(d, directory):
    """TLS for NAME and all names below preview.NAME, as the manual says."""
    (port,) = free_ports(1)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", f"/CN={NAME}", "-keyout",
        directory / "key.pem", "-out", directory / "cert.pem", "-addext", f"subjectAltName=DNS:{NAME},DNS:*.preview.{NAME}", check=True)
    common = f"ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem; proxy_http_version 1.1; proxy_set_header Connection ''; " \
             "proxy_set_header Host $host;"
    (directory / "nginx.conf").write_text(f"""
daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off; server_tokens off; proxy_buffering on;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{ listen 127.0.0.1:{port} ssl; server_name {NAME}; {common} location / {{ proxy_pass http://127.0.0.1:{d.port}; }} }}
  server {{ listen 127.0.0.1:{port} ssl; server_name *.preview.{NAME}; {common} location / {{ proxy_pass http://127.0.0.1:{d.preview_port}; }} }}
}}
""")
    process = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def curl(directory, port, path, *argv, host=NAME):
    r = run("curl", "-sS", "-i", "--max-time", "20", "--cacert", directory / "cert.pem", "--connect-to", f"::127.0.0.1:{port}", *argv, f"https://{host}{path}")
    head, _, body = r.stdout.partition("\n\n") if "\r\n" not in r.stdout else r.stdout.partition("\r\n\r\n")
    lines = head.splitlines()
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), value)
    return int(lines[0].split()[1]) if lines else 0, headers, body + r.stderr


def judge_curl(d, directory, port):
    origin = ("-H", f"Origin: https://{NAME}")
    jar = directory / "jar"
    for path, status in (("/", 303), ("/login", 200), ("/nothing", 404), ("/api/v1/whoami", 401), ("/static/drydock.css", 200), ("/healthz", 200)):
        got, h, _ = curl(directory, port, path)
        wanted = {"content-security-policy": "frame-ancestors 'none'", "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
                  "strict-transport-security": "max-age", "x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin",
                  "cross-origin-resource-policy": "same-origin", "permissions-policy": "camera=()", "cache-control": "public" if "static" in path else "no-store"}
        check(got == status and all(v in h.get(k, "") for k, v in wanted.items()), f"curl {path}: {status} with all headers", (got, h))
    got, h, _ = curl(directory, port, "/login", *origin, "-c", jar, "-d", "name=alice", "-d", f"password={PASSWORD}")
    cookie = h.get("set-cookie", "")
    check(got == 303 and re.fullmatch(r"__Host-drydock=[\w-]+; Path=/; HttpOnly; SameSite=Lax; Secure", cookie), "curl logs in: __Host-, HttpOnly, SameSite, Secure", (got, cookie))
    got, _, body = curl(directory, port, "/s/www/file/docs/a.html?view=preview", "-b", jar)
    check(got == 200, "curl with the cookie sees a page", body)
    token = re.search(rf'src="https://([0-9a-f]{{32}}\.preview\.{re.escape(NAME)})/docs/a\.html"', body)
    check(token, "its preview has a name of its own, over https", body)
    if token:
        got, h, body = curl(directory, port, "/docs/a.html", host=token.group(1))
        check(got == 200 and "<h1>a</h1>" in body and f"default-src https://{token.group(1)} " in h["content-security-policy"], "the preview comes through nginx", (got, h, body))
    for wrong in (f"http://{NAME}", "https://evil.example", "null", f"https://{NAME}.evil.example", f"https://{token.group(1) if token else ''}"):
        got, _, _ = curl(directory, port, "/login", "-H", f"Origin: {wrong}", "-d", "name=alice", "-d", f"password={PASSWORD}")
        check(got == 403, f"a login with Origin {wrong[:40]} is refused", got)
    r = run("curl", "-sSN", "--max-time", "3", "--cacert", directory / "cert.pem", "--connect-to", f"::127.0.0.1:{port}", "-b", jar, f"https://{NAME}/s/www/events")
    check(r.stdout.startswith("retry:"), "events come through nginx at once", r.stdout + r.stderr)
    got, _, body = curl(directory, port, "/s/www/", "-b", jar, "-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Forwarded-User: unix:root", "-H", "X-Remote-User: unix:root", "-H", "Remote-User: root")
    check(got == 200 and "root" not in body.replace("proot", ""), "headers that name a user are ignored on the ordinary port", body[:500])


def judge_nginx(d, directory, port):
    """The smuggling shapes through nginx: whatever of them it lets through, the hidden request is never run."""
    from test_guard import HOST, SMUGGLING
    context = ssl.create_default_context(cafile=str(directory / "cert.pem"))
    answers = {}
    for name, data in SMUGGLING.items():
        before = len(d.log())
        data = data.replace(HOST, f"Host: {NAME}\r\n".encode()).replace(b"Host: localhost", f"Host: {NAME}".encode())
        out = b""
        with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain, server_hostname=NAME) as s:
            s.settimeout(2)
            with contextlib.suppress(OSError):
                s.sendall(data + b"GET /healthz HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\nConnection: close\r\n\r\n")
                while piece := s.recv(65536):
                    out += piece
        answers[name] = re.findall(rb"HTTP/1\.1 (\d+)", out)
        # nginx itself may see two plain requests where the shape is only odd; then each is one request, and answered as such.
        seen = sum("target=/hidden" in line for line in d.log()[before:].splitlines())
        check(seen == 0 or answers[name].count(b"404") == seen, f"through nginx: {name}: {b' '.join(answers[name]).decode() or 'closed'}", out)


# --- slowhttptest -------------------------------------------------------------------------------------------------------

def judge_slowhttptest(d, directory, thorough):
    seconds = "60" if thorough else "15"
    for name, argv in {"2,000 slow heads": ["-H", "-i", "5"], "2,000 slow bodies": ["-B", "-i", "5", "-s", "15000", "-t", "POST"],
                       "2,000 slow readers": ["-X", "-w", "1", "-y", "2", "-n", "5", "-z", "1", "-k", "3"]}.items():
        path = "/static/drydock.js" if "-X" in argv else "/login"
        times, stop = [], threading.Event()

        def honest():
            while not stop.is_set():
                start = time.monotonic()
                with contextlib.suppress(OSError):
                    s = socket.socket()
                    s.settimeout(30)
                    s.bind(("127.0.0.77", 0))
                    s.connect(("127.0.0.1", d.port))
                    with s:
                        s.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        if s.recv(4096).startswith(b"HTTP/1.1 200"):
                            times.append(time.monotonic() - start)
                stop.wait(0.2)
        watcher = threading.Thread(target=honest)
        watcher.start()
        r = run("slowhttptest", *argv, "-c", "2000", "-r", "400", "-l", seconds, "-p", "5", "-u", f"http://127.0.0.1:{d.port}{path}", cwd=directory)
        stop.set()
        watcher.join()
        said = re.findall(r"service available:\s*(\w+)", re.sub(r"\x1b\[[0-9;]*m", "", r.stdout))
        times.sort()
        check(times and times[-1] < 1, f"{name}: another address is served meanwhile, median {times[len(times) // 2] if times else -1:.3f} s, longest {times[-1] if times else -1:.3f} s "
              f"of {len(times)}; slowhttptest says at the end: service available {said[-1] if said else '?'} (to its own address, which is over its share)", r.stdout[-800:])
        check(d.process.poll() is None and d.login_page_works(), f"{name}: the server is well afterwards")


# --- wapiti -------------------------------------------------------------------------------------------------------------

MODULES = "backup,blindsql,cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,methods,permanentxss,redirect,shellshock,sql,xss"


STARTS = ("/login?next=/x", "/s/www/", "/s/www/tree/", "/s/www/file/docs/a.html", "/s/www/history", "/s/www/sync", "/s/www/rules", "/s/www/rules/explain", "/s/www/preapprovals", "/account",
          "/api/v1/sites/www/status?path=/docs", "/api/v1/sites/www/log?limit=5", "/api/v1/whoami", "/healthz", "/metrics", "/static/drydock.css")


def judge_wapiti(d, directory, thorough):
    """With alice's session, and without one. Modules that would ask other machines are left out."""
    for who in ("alice", None):
        argv = ["-H", f"Origin: {d.url}"]
        if who:
            argv += ["-H", f"Cookie: drydock={d.login(who).cookies['drydock']}"]
        before = len(d.log())
        report = directory / f"wapiti-{who}.json"
        # Debian's 3.0.4 with Python 3.11 cannot leave an address out (-x): an old spelling of a regular expression.
        start = "import re, wapitiCore.net.crawler as c; from wapitiCore.main.wapiti import wapiti_main; " \
                "c.wildcard_translate = lambda p: re.compile('(?ms)' + '.*'.join(map(re.escape, p.split('*'))) + r'\\Z'); wapiti_main()"
        r = run("/usr/bin/python3", "-c", start, "-u", f"{d.url}/", "--scope", "folder", *(a for p in STARTS for a in ("-s", d.url + p)), "-m", MODULES, *argv, "-x", f"{d.url}/logout", "-x", f"{d.url}/account/sessions", "-d", "6" if thorough else "4",
                "--max-links-per-page", "60", "--max-scan-time", "900" if thorough else "60", "--max-attack-time", "600" if thorough else "25", "-f", "json", "-o", report,
                "--store-session", directory / "ws", "--store-config", directory / "wc", "--flush-session", "--no-bugreport", "-v", "0", env={**os.environ, "HOME": str(directory), "LC_ALL": "C.UTF-8"})
        if not report.exists():
            check(False, f"wapiti as {who} wrote a report", r.stdout + r.stderr)
            continue
        found = json.loads(report.read_text())
        lines = [line for line in d.log()[before:].splitlines() if "event=http " in line]
        open_ = []
        for kind in ("vulnerabilities", "anomalies"):
            for category, items in found[kind].items():
                for item in items:
                    answer = next((why for c, words, why in ANSWERED if c == category and re.search(words, item["info"])), None)
                    if answer is None:
                        open_.append(f"{category}: {item['method']} {item['path']}: {item['info']}")
                    else:
                        print(f"       answered: {category}: {item['info'][:80]}: {answer}")
        # 501 is an unknown method
        failed = [line for line in lines if re.search(r" status=5\d\d ", line) and " status=501 " not in line]
        check(len(lines) > 50, f"wapiti as {who} sent {len(lines)} requests to {len({m for line in lines for m in re.findall(r' target=.?(/[^? ]*)', line)})} addresses")
        check(not open_, f"wapiti as {who}: no open finding", "\n".join(sorted(set(open_))))
        check(not failed, f"wapiti as {who}: nothing answered 5xx", "\n".join(failed[:10]))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("judges", nargs="*", choices=[[], "curl", "nginx", "slowhttptest", "wapiti"])
    p.add_argument("--thorough", action="store_true", help="longer, for a release")
    o = p.parse_args()
    todo = o.judges or ["curl", "nginx", "slowhttptest", "wapiti"]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="drydock-judges-"))
    try:
        if {"curl", "nginx"} & set(todo):
            with Drydock(files=PAGES, config=f'public_url = "https://{NAME}"\npreview_host = "preview.{NAME}"\n', accounts=()) as d:
                d.add_account("alice")
                with nginx(d, directory) as port:
                    for name, judge in (("curl", judge_curl), ("nginx", judge_nginx)):
                        if name in todo:
                            print(f"{name}:")
                            judge(d, directory, port)
        if {"slowhttptest", "wapiti"} & set(todo):
            with Drydock(files=PAGES) as d:
                d.sign("/docs", recursive=True, note="signed")
                d.sync()
                for name, judge in (("slowhttptest", judge_slowhttptest), ("wapiti", judge_wapiti)):
                    if name in todo:
                        print(f"{name}:")
                        judge(d, directory, o.thorough)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{len(failures)} open")
    return 1 if failures else 0


sys.exit(main())
