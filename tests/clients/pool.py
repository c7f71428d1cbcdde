"""pool.py DB CONNECTIONS OPERATIONS TIMEOUT: threads of one process, each with a connection of its own, insert rows."""
import collections
import json
import sqlite3
import sys
import threading

path, connections, operations, timeout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
lock, done, errors = threading.Lock(), 0, collections.Counter()


def work(name):
    global done
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    for number in range(operations):
        text = None
        try:
            connection.execute("INSERT INTO events(client, body) VALUES (?, ?)", (name, number))
        except sqlite3.Error as error:
            text = getattr(error, "sqlite_errorname", str(error))
        with lock:
            if text is None:
                done += 1
            else:
                errors[text] += 1
    connection.close()


print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=work, args=(name,)) for name in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"done": done, "errors": errors}), flush=True)
