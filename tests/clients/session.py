"""session.py DB [TIMEOUT]: one connection that is led line by line.

A line is SQL, or one of: close, open (again), rows QUERY. Each is answered by one line: "ok", a value, or "error: TEXT".
"""
import sqlite3
import sys

path = sys.argv[1]
timeout = float(sys.argv[2]) if len(sys.argv) > 2 else 0


def connect():
    return sqlite3.connect(path, timeout=timeout, isolation_level=None)


connection = connect()
print("ready", flush=True)
for line in sys.stdin:
    line = line.strip()
    try:
        if line == "close":
            connection.close()
            answer = "ok"
        elif line == "open":
            connection = connect()
            answer = "ok"
        elif line.startswith("rows "):
            answer = str(connection.execute(line[5:]).fetchone()[0])
        else:
            connection.execute(line).fetchall()
            answer = "ok"
    except sqlite3.Error as error:
        answer = "error: " + str(error)
    print(answer, flush=True)
