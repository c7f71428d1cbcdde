"""http_writers.py BASE DB KIND COUNT: COUNT connections that write until the input is closed, each acknowledged after its answer.

KIND is `sql` (one INSERT into events per request) or `kv` (one PUT of a key of its own per request). Prints "ready", reads a
line, then "ack CONNECTION NUMBER" per answer of 200 and "error: TEXT" for every other one, and goes on. A connection that breaks
ends its thread: what was not answered is not acknowledged.
"""
import http.client
import json
import sys
import threading
import urllib.parse

base, database, kind, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
address = urllib.parse.urlsplit(base)
ended = threading.Event()
output = threading.Lock()


def say(*words):
    with output:
        print(*words, flush=True)


def request(connection, number):
    if kind == "sql":
        item = {"statement": "INSERT INTO events(client, body) VALUES (?, ?)", "values": [f"http-{connection}", number]}
        return "POST", f"/api/v1/sqlite/db?db={database}", json.dumps({"transaction": [item]})
    return "PUT", f"/api/v1/sqlite/kv/{connection}-{number}?db={database}", json.dumps({"n": number})


def write(connection):
    link = http.client.HTTPConnection(address.hostname, address.port, timeout=90)
    number = 0
    while not ended.is_set():
        method, path, body = request(connection, number)
        try:
            link.request(method, path, body, {"Content-Type": "application/json"})
            answer = link.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return say("gone:", error)
        if answer.status == 200:
            say("ack", connection, number)
        else:
            say("error:", answer.status, text.decode("utf-8", "replace"))
        number += 1


print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=write, args=(connection,)) for connection in range(count)]
for thread in threads:
    thread.start()
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
