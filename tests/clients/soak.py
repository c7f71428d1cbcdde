"""soak.py ROLE SEED ...: one client of the long test; works until its input is closed, then reports one line of JSON.

    write SEED DB NAME TIMEOUT    inserts row after row, each with the counter, in one transaction
    read SEED DB TIMEOUT          compares the rows with the counter, in one snapshot
    names SEED DIRECTORY          makes, renames, links and removes names, and compares the listing with its own model
    copy SEED DIRECTORY           runs cp, and compares
    vacuum SEED DB                VACUUM, and looks whether everything is still there

The report: {"done": N, "errors": {TEXT: N}, "longest_us": N}; the first error ends it. To the line "longest" it answers with the
longest operation since it answered last, in microseconds, as soon as one has begun and ended since the question.
"""
import collections
import errno
import filecmp
import json
import os
import random
import select
import sqlite3
import stat
import subprocess
import sys
import time

role, dice, arguments = sys.argv[1], random.Random(int(sys.argv[2])), sys.argv[3:]


class Wrong(Exception):
    """Something is not as it must be."""


def writer(path, name, timeout):
    connection = sqlite3.connect(path, timeout=float(timeout), isolation_level=None)
    number = 0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO events(client, body) VALUES (?, ?)", (name, number))
            connection.execute("UPDATE counter SET value = value + 1")
            connection.execute("COMMIT")
        finally:
            # A number whose COMMIT failed is never used again: its row may be there.
            number += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        yield


def reader(path, timeout):
    connection = sqlite3.connect(path, timeout=float(timeout), isolation_level=None)
    last = 0
    while True:
        connection.execute("BEGIN")
        try:
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            (rows,) = connection.execute("SELECT count(*) FROM events").fetchone()
        finally:
            connection.execute("COMMIT")
        if rows != value or rows < last:
            raise Wrong("%d rows, the counter says %d, %d before" % (rows, value, last))
        last = rows
        yield


def vacuumer(path):
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    number = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    while True:
        connection.execute("INSERT INTO events(client, body) VALUES ('v', ?)", ("x" * dice.randrange(2000),))
        number += 1
        if number > 200:
            connection.execute("DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT 100)")
            number -= 100
        connection.execute("VACUUM")
        rows = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        if rows != number:
            raise Wrong("%d rows instead of %d" % (rows, number))
        yield


def copier(directory):
    os.chdir(directory)
    with open("original", "wb") as file:
        file.write(dice.randbytes(1_000_000))
    while True:
        subprocess.run(["cp", "original", "copy"], check=True, capture_output=True)
        if not filecmp.cmp("original", "copy", shallow=False):
            raise Wrong("the copy differs")
        os.unlink("copy")
        yield


class Names:
    """A directory and what must be in it: name -> (kind, object); hard links share the object."""

    def __init__(self, directory):
        os.chdir(directory)
        self.model = {}
        self.next = 0

    def operations(self):
        while True:
            operation = dice.choice(
                [self.create, self.create, self.unlink, self.rename, self.link, self.symlink, self.mkdir, self.rmdir])
            operation()
            self.verify()
            yield

    def fresh(self):
        return "name %d" % dice.randrange(40)

    def some(self, *kinds):
        names = [name for name, (kind, _) in self.model.items() if kind in kinds]
        return dice.choice(names) if names else None

    def expect(self, wanted, call, *arguments):
        """Does it; it must succeed, or fail with exactly this error."""
        try:
            result = call(*arguments)
        except OSError as error:
            if error.errno != wanted:
                raise Wrong("%s%r: %s" % (call.__name__, arguments, error)) from error
            return None
        if wanted is not None:
            raise Wrong("%s%r: succeeded instead of %s" % (call.__name__, arguments, errno.errorcode[wanted]))
        return result

    def taken(self, name):
        return errno.EEXIST if name in self.model else None

    def create(self):
        name = self.fresh()
        wanted = self.taken(name)
        file = self.expect(wanted, os.open, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if wanted is None:
            self.next += 1
            os.write(file, b"%d" % self.next)
            os.close(file)
            self.model[name] = ("file", self.next)

    def unlink(self):
        name = self.some("file", "symlink") or "missing"
        self.expect(None if name in self.model else errno.ENOENT, os.unlink, name)
        self.model.pop(name, None)

    def rename(self):
        old, new = self.some("file", "symlink", "dir"), self.fresh()
        if old is None:
            self.expect(errno.ENOENT, os.rename, "missing", new)
            return
        there = self.model.get(new)
        wanted = None
        if there is not None and there != self.model[old] and old != new:
            if self.model[old][0] == "dir" and there[0] != "dir":
                wanted = errno.ENOTDIR
            elif self.model[old][0] != "dir" and there[0] == "dir":
                wanted = errno.EISDIR
        self.expect(wanted, os.rename, old, new)
        # Two names of one file: rename does nothing at all.
        if wanted is None and old != new and there != self.model[old]:
            self.model[new] = self.model.pop(old)

    def link(self):
        old, new = self.some("file"), self.fresh()
        if old is None:
            return
        wanted = self.taken(new)
        self.expect(wanted, os.link, old, new)
        if wanted is None:
            self.model[new] = self.model[old]

    def symlink(self):
        name = self.fresh()
        wanted = self.taken(name)
        self.expect(wanted, os.symlink, "to %d" % self.next, name)
        if wanted is None:
            self.model[name] = ("symlink", "to %d" % self.next)
            self.next += 1

    def mkdir(self):
        name = self.fresh()
        wanted = self.taken(name)
        self.expect(wanted, os.mkdir, name)
        if wanted is None:
            self.next += 1
            self.model[name] = ("dir", self.next)

    def rmdir(self):
        name = self.some("dir") or "missing"
        self.expect(None if name in self.model else errno.ENOENT, os.rmdir, name)
        self.model.pop(name, None)

    def verify(self):
        listed = {}
        with os.scandir(".") as entries:
            for one in entries:
                if one.name in listed:
                    raise Wrong("%r is listed twice" % one.name)
                listed[one.name] = "symlink" if one.is_symlink() else "dir" if one.is_dir() else "file"
        expected = {name: kind for name, (kind, _) in self.model.items()}
        if listed != expected:
            raise Wrong("listed %r instead of %r" % (sorted(listed.items()), sorted(expected.items())))
        name = self.some("file", "symlink", "dir")
        if name is None:
            return
        kind, thing = self.model[name]
        seen = os.lstat(name)
        if kind == "symlink" and os.readlink(name) != thing:
            raise Wrong("%r leads to %r instead of %r" % (name, os.readlink(name), thing))
        if kind == "file":
            with open(name, "rb") as file:
                content = file.read()
            links = sum(1 for other in self.model.values() if other == (kind, thing))
            if content != b"%d" % thing or seen.st_nlink != links:
                raise Wrong("%r has %r and %d links instead of %d and %d" % (name, content, seen.st_nlink, thing, links))
        if kind == "dir" and not stat.S_ISDIR(seen.st_mode):
            raise Wrong("%r is no directory" % name)


ROLES = {"write": writer, "read": reader, "vacuum": vacuumer, "copy": copier, "names": lambda path: Names(path).operations()}
PAUSE = {"write": 0.005, "read": 0.02, "vacuum": 0.05, "copy": 0.05, "names": 0.002}

operations = ROLES[role](*arguments)
# Without a buffer: what was read ahead would not be seen by select.
control = open(0, "rb", buffering=0)
done, errors, longest, since = 0, collections.Counter(), 0, 0
asked, ended_since = False, 0
print("ready", flush=True)
control.readline()
while True:
    if select.select([control], [], [], 0)[0]:
        line = control.readline()
        if not line:
            break
        asked, ended_since = line.strip() == b"longest", 0
    begun = time.monotonic()
    try:
        next(operations)
        done += 1
    except (OSError, sqlite3.Error, subprocess.CalledProcessError, Wrong) as error:
        errors[getattr(error, "stderr", None) and error.stderr.decode() or "%s: %s" % (type(error).__name__, error)] += 1
        break
    took = int((time.monotonic() - begun) * 1_000_000)
    longest, since, ended_since = max(longest, took), max(since, took), ended_since + 1
    if asked and ended_since >= 2:
        print(since, flush=True)
        asked, since = False, 0
    # The pace keeps the databases small; the length of an operation is measured without it.
    time.sleep(PAUSE[role])
print(json.dumps({"done": done, "errors": errors, "longest_us": longest}), flush=True)
