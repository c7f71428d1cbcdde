"""everyday.py DB PATTERN OPERATIONS TIMEOUT MODE: one program of the kind that people write, with Python's own sqlite3.

Says "ready", waits for a line, does OPERATIONS times what PATTERN says, and reports one line of JSON. No pattern tries again
after an error: each error is one that a user would see.
"""
import collections
import json
import os
import sqlite3
import sys

path, pattern, operations, timeout, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
me = os.getpid()
kept = None
INSERT = "INSERT INTO events(client, body) VALUES (?, ?)"


def keep(**options):
    """One connection for the whole run."""
    global kept
    if kept is None:
        kept = sqlite3.connect(path, timeout=timeout, **options)
    return kept


def reopen(number):
    connection = sqlite3.connect(path, timeout=timeout)
    connection.execute(INSERT, (me, "x" * 50))
    connection.commit()
    connection.close()


def first_start(number):
    connection = sqlite3.connect(path, timeout=timeout)
    connection.execute("PRAGMA journal_mode = " + mode)
    connection.execute("CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, client, body)")
    connection.commit()
    connection.execute(INSERT, (me, "x" * 50))
    connection.commit()
    connection.close()


def insert(number):
    connection = keep()
    connection.execute(INSERT, (me, "x" * 50))
    connection.commit()


def increment(begin):
    connection = keep(isolation_level=None)
    connection.execute(begin)
    value = connection.execute("SELECT value FROM counter").fetchone()[0]
    connection.execute("UPDATE counter SET value = ?", (value + 1,))
    connection.execute("COMMIT")


def immediate(number):
    increment("BEGIN IMMEDIATE")


def upgrade(number):
    increment("BEGIN")


def read(number):
    keep(isolation_level=None).execute("SELECT count(*), max(id) FROM events").fetchone()


def journal_mode(number):
    """Only the first operation does anything: the mode of a file that may not be there yet."""
    connection = keep(isolation_level=None)
    answer = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if answer != "wal":
        raise sqlite3.OperationalError("journal mode stayed " + answer)


operation = globals()[pattern]
done, errors = 0, collections.Counter()
print("ready", flush=True)
sys.stdin.readline()
for number in range(operations):
    try:
        operation(number)
        done += 1
    except sqlite3.Error as error:
        errors[str(error)] += 1
        if kept is not None and kept.in_transaction:
            kept.rollback()
print(json.dumps({"done": done, "errors": errors}), flush=True)
