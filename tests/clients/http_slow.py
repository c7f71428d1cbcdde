"""http_slow.py HOST PORT KIND COUNT: COUNT clients that misuse a server until the input is closed. Prints "ready" when all do.

KIND: `head` sends a byte of the head each second; `body` announces a megabyte and sends a byte each second; `mute` asks for a large
answer and never reads it; `idle` connects and is silent. A connection that the server closes is opened again once a second.
"""
import resource
import select
import socket
import sys

host, port, kind, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
PATH = "/api/v1/sqlite"
FIRST = {
    "head": b"GET ",
    "body": f"POST {PATH}/db?db=slow HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000000\r\n\r\n{{".encode(),
    "mute": f"GET {PATH}/kv/large?db=slow HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() * 8,
    "idle": b"",
}[kind]


def connect():
    link = socket.socket()
    if kind == "mute":
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        link.settimeout(5)
        link.connect((host, port))
        link.sendall(FIRST)
    except OSError:
        pass
    link.setblocking(False)
    return link


links = [connect() for _ in range(count)]
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 1)[0]:
    for at, link in enumerate(links):
        if kind in ("head", "body"):
            try:
                link.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                link.close()
                links[at] = connect()
