"""Slow clients: crowd.py PORT N idle|headers|body

N connections to 127.0.0.1:PORT from many addresses of 127/8, which send nothing, half a head, or a body that does not
end, then a byte a second, and come back as soon as they are thrown out. Says "ready" when all are made; ends with its
standard input, and says how often one was thrown out.
"""
import contextlib
import resource
import selectors
import socket
import sys
import time

FIRST = {
    "idle": b"",
    "headers": b"GET /login HTTP/1.1\r\nHost: loc",
    "body": b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 15000\r\n\r\nname=a",
}
port, n, first = int(sys.argv[1]), int(sys.argv[2]), FIRST[sys.argv[3]]
made = thrown_out = 0
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, n + 100)), hard))


def connect(sel):
    global made
    s = socket.socket()
    s.setblocking(False)
    s.bind((f"127.0.{1 + made % 7}.{1 + made % 50}", 0))
    made += 1
    s.connect_ex(("127.0.0.1", port))
    sel.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)


def gone(sel, s, events):
    """What there is to do on a connection; was it thrown out?"""
    try:
        if events & selectors.EVENT_WRITE:
            if first:
                s.send(first)
            sel.modify(s, selectors.EVENT_READ)
        return bool(events & selectors.EVENT_READ) and s.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


with selectors.DefaultSelector() as sel:
    for _ in range(n):
        connect(sel)
    print("ready", flush=True)
    sel.register(sys.stdin, selectors.EVENT_READ, "end")
    on, drip = True, time.monotonic()
    while on:
        out = []
        for key, events in sel.select(0.05):
            if key.data == "end":
                on = False
            elif gone(sel, key.fileobj, events):
                out.append(key.fileobj)
        for s in out:
            sel.unregister(s)
            s.close()
            connect(sel)
        thrown_out += len(out)
        if first and time.monotonic() - drip > 1:
            drip = time.monotonic()
            for key in list(sel.get_map().values()):
                if key.data != "end":
                    with contextlib.suppress(OSError):
                        key.fileobj.send(b"a")
print(thrown_out, flush=True)
