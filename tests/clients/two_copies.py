"""two_copies.py DB OPERATIONS LIBRARY: two copies of SQLite in one process, and an open and close of the database in between.

The first copy is Python's own; the second is LIBRARY, a copy of libsqlite3 under a name of its own, so that the loader
gives it variables of its own. While either has a transaction open, a second descriptor of the database is closed.
"""
import ctypes
import json
import os
import sqlite3
import sys

path, operations, library = sys.argv[1], int(sys.argv[2]), sys.argv[3]
first = sqlite3.connect(path, timeout=30, isolation_level=None)
second = ctypes.CDLL(library)
second.sqlite3_errmsg.restype = ctypes.c_char_p
second.sqlite3_errmsg.argtypes = [ctypes.c_void_p]
second.sqlite3_exec.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
second.sqlite3_busy_timeout.argtypes = [ctypes.c_void_p, ctypes.c_int]
handle = ctypes.c_void_p()
assert second.sqlite3_open(path.encode(), ctypes.byref(handle)) == 0
second.sqlite3_busy_timeout(handle, 30000)


def by_first(sql):
    first.execute(sql)


def by_second(sql):
    if second.sqlite3_exec(handle, sql.encode(), None, None, None) != 0:
        raise sqlite3.OperationalError(second.sqlite3_errmsg(handle).decode())


def close_another_descriptor():
    os.close(os.open(path, os.O_RDONLY))


done, errors = 0, {}
print("ready", flush=True)
sys.stdin.readline()
for number in range(operations):
    run, name = ((by_first, "first"), (by_second, "second"))[number % 2]
    try:
        run("BEGIN IMMEDIATE")
        run(f"INSERT INTO events(client, body) VALUES ('{name}', {number})")
        close_another_descriptor()
        run("UPDATE counter SET value = value + 1")
        run("COMMIT")
        done += 1
    except sqlite3.Error as error:
        errors[str(error)] = errors.get(str(error), 0) + 1
        try:
            run("ROLLBACK")
        except sqlite3.Error:
            pass
print(json.dumps({"done": done, "errors": errors}), flush=True)
