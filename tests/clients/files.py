"""files.py DIRECTORY: does to files what it is told, line by line, and answers with what the kernel answered.

    open FD NAME [MODE]      close FD            lock FD r|w|u START LENGTH      wait FD r|w START LENGTH (F_SETLKW)
    test FD r|w START LENGTH ofd FD r|w|u START LENGTH                           flock FD sh|ex|un

`test` answers with the kind, range and owner of the lock in the way; an owner is told as a process id.
"""
import errno
import fcntl
import os
import struct
import sys

os.chdir(sys.argv[1])
FLOCK = "hhqqi4x"
KINDS = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "u": fcntl.F_UNLCK}
F_OFD_SETLK = 37
files = {}


def lock(command, fd, kind, start, length):
    record = struct.pack(FLOCK, KINDS[kind], os.SEEK_SET, int(start), int(length), 0)
    return struct.unpack(FLOCK, fcntl.fcntl(files[fd], command, record))


def do(word, fd, *rest):
    if word == "open":
        flags = {"rw": os.O_RDWR | os.O_CREAT, "r": os.O_RDONLY, "a": os.O_WRONLY | os.O_APPEND}[rest[1] if len(rest) > 1 else "rw"]
        files[fd] = os.open(rest[0], flags, 0o644)
    elif word == "close":
        os.close(files.pop(fd))
    elif word == "lock":
        lock(fcntl.F_SETLK, fd, *rest)
    elif word == "wait":
        lock(fcntl.F_SETLKW, fd, *rest)
    elif word == "ofd":
        lock(F_OFD_SETLK, fd, *rest)
    elif word == "flock":
        fcntl.flock(files[fd], {"sh": fcntl.LOCK_SH, "ex": fcntl.LOCK_EX, "un": fcntl.LOCK_UN}[rest[0]] | fcntl.LOCK_NB)
    elif word == "test":
        kind, _, start, length, pid = lock(fcntl.F_GETLK, fd, *rest)
        return "free" if kind == fcntl.F_UNLCK else f"{'r' if kind == fcntl.F_RDLCK else 'w'} {start} {length} {pid}"
    return "ok"


print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = do(*line.split())
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(answer, flush=True)
