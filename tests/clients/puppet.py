"""puppet.py DIRECTORY: runs Python line by line in DIRECTORY and answers each line with one line.

An expression is answered by its value, a statement or None by "ok", an error of the system by its name (ENOENT), another error by
"error: TEXT". Names stay from line to line; the modules below are there. Lines are joined by a backslash n.
"""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import sqlite3
import stat
import struct
import sys
import time


def read(name):
    with open(name, "rb") as file:
        return file.read().decode()


def write(name, text):
    with open(name, "wb") as file:
        file.write(text.encode())


def sql(connection, text):
    """Runs one statement; gives the first value of the first row."""
    rows = connection.execute(text).fetchall()
    return rows[0][0] if rows else "ok"


def connect(name, timeout=0):
    return sqlite3.connect(name, timeout=timeout, isolation_level=None)


def close_all():
    """Closes every connection and every file."""
    for value in list(globals().values()):
        if isinstance(value, sqlite3.Connection):
            value.close()
    os.closerange(3, 1000)


libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2


def rename2(old, new, flags):
    """renameat2(2), which Python does not have."""
    here = -100
    if libc.renameat2(here, old.encode(), here, new.encode(), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def lock(file, kind, start=0, length=0):
    """F_SETLK."""
    fcntl.lockf(file, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB, length, start)


def entry(path):
    """Everything that a client can see of one directory entry."""
    seen = os.lstat(path)
    # What SQLite writes has salts and counters of its own; rows are compared instead.
    opaque = any(part in os.path.basename(path) for part in (".db", "-wal", "-shm", "-journal"))
    kind = stat.filemode(seen.st_mode)
    links = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_nlink
    content = ""
    if stat.S_ISLNK(seen.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(seen.st_mode) and not opaque:
        with open(path, "rb") as file:
            content = "%d %s" % (seen.st_size, hashlib.sha1(file.read()).hexdigest()[:12])
    attributes = {}
    if not stat.S_ISLNK(seen.st_mode):
        attributes = {name: os.getxattr(path, name).decode() for name in os.listxattr(path) if name.startswith("user.")}
    return (kind, links, content, sorted(attributes.items()))


def tree(top):
    """Everything below a directory."""
    seen = {}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(directory, name)
            seen[os.path.relpath(path, top)] = entry(path)
    return sorted(seen.items())


os.chdir(sys.argv[1])
names = globals()
print("ready", flush=True)
for line in sys.stdin:
    line = line.rstrip("\n").replace("\\n", "\n")
    try:
        try:
            code = compile(line, "line", "eval")
        except SyntaxError:
            exec(compile(line, "line", "exec"), names)
            answer = "ok"
        else:
            value = eval(code, names)
            answer = "ok" if value is None else str(value)
    except OSError as error:
        answer = errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        answer = "error: %s" % error
    print(answer.replace("\n", "\\n"), flush=True)
