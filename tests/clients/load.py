"""load.py DB NAME [TIMEOUT]: inserts rows until its input is closed, and acknowledges each after its commit: "ack NUMBER".

An error is told as "error: TEXT", and the next number is tried.
"""
import select
import sqlite3
import sys

path, name = sys.argv[1], sys.argv[2]
connection = sqlite3.connect(path, timeout=float(sys.argv[3]) if len(sys.argv) > 3 else 0, isolation_level=None)
print("ready", flush=True)
sys.stdin.readline()
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        connection.execute("INSERT INTO events(client, body) VALUES (?, ?)", (name, number))
        print("ack", number, flush=True)
    except sqlite3.Error as error:
        print("error:", error, flush=True)
    number += 1
