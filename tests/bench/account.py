"""account.py HOODYDB MOUNTPOINT: what one statement costs, request by request, in microseconds.

Runs each statement often on a kept connection, follows its requests through the kernel's tracepoints (tracefs, root), and prints a
table for each: medians over the runs. A request's time has four parts:

    client in kernel   the process's own way to the request, and back to it after the answer
    wake daemon        from the request's queueing to the daemon's thread running
    daemon             the thread's read(2), its own code, its writev(2) up to the answer
    wake client        from the answer to the client running

Tracing itself costs about a microsecond per event, so the sums are larger than without it; the last line says by how much.
"""
import collections
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

OPERATIONS = {
    1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 10: "UNLINK", 14: "OPEN", 18: "RELEASE", 20: "FSYNC", 22: "GETXATTR", 25: "FLUSH",
    30: "FSYNCDIR", 31: "GETLK", 32: "SETLK", 33: "SETLKW", 35: "CREATE", 42: "BATCH_FORGET",
}
# Nobody waits for the answer.
BACKGROUND = {"FORGET", "BATCH_FORGET", "RELEASE"}
EVENTS = ["fuse/fuse_request_send", "fuse/fuse_request_end", "sched/sched_switch"]
LINE = re.compile(r"-(\d+)\s+\[(\d+)\].*?\s(\d+\.\d+): (\w+): (.*)")
RUNS = 300


class Trace:
    """An instance of the kernel's tracer of its own, gone afterwards."""

    def __init__(self):
        self.top = tempfile.mkdtemp()
        subprocess.run(["mount", "-t", "tracefs", "tracefs", self.top], check=True)
        self.here = os.path.join(self.top, "instances", "hoodydb-account")
        os.mkdir(self.here)
        self.write("trace_clock", "mono")
        self.write("buffer_size_kb", "65536")

    def write(self, name, value):
        with open(os.path.join(self.here, name), "w") as file:
            file.write(value)

    def record(self, work, marks):
        for event in EVENTS:
            self.write("events/%s/enable" % event, "1")
        try:
            for _ in range(RUNS):
                begun = time.monotonic()
                work()
                marks.append((begun, time.monotonic()))
        finally:
            for event in EVENTS:
                self.write("events/%s/enable" % event, "0")
        with open(os.path.join(self.here, "trace")) as file:
            found = [LINE.search(line) for line in file if not line.startswith("#")]
        self.write("trace", "")
        return [(float(m[3]), int(m[1]), int(m[2]), m[4], m[5]) for m in found if m]

    def close(self):
        os.rmdir(self.here)
        subprocess.run(["umount", self.top], check=True)
        os.rmdir(self.top)


def requests_of(events, marks, client, daemon):
    """For each run, its requests in order: (operation, queued, daemon runs, answered, client runs, crossed to another CPU)."""
    runs, place = [], 0
    for begun, ended in marks:
        while place < len(events) and events[place][0] < begun:
            place += 1
        asked, open_requests = [], {}
        waiting = None
        while place < len(events) and events[place][0] <= ended:
            when, thread, cpu, name, text = events[place]
            place += 1
            if name == "fuse_request_send" and thread == client:
                unique, opcode = re.search(r"req (\d+) opcode (\d+)", text).groups()
                request = {"op": OPERATIONS.get(int(opcode), opcode), "sent": when, "cpu": cpu, "ran": None}
                asked.append(request)
                open_requests[unique] = request
            elif name == "sched_switch":
                into = int(re.search(r"next_pid=(\d+)", text)[1])
                if into in daemon:
                    for request in open_requests.values():
                        if request["ran"] is None:
                            request["ran"], request["daemon_cpu"] = when, cpu
                elif into == client and waiting is not None:
                    waiting["back"] = when
                    waiting = None
            elif name == "fuse_request_end":
                request = open_requests.pop(re.search(r"req (\d+)", text)[1], None)
                if request is not None:
                    request["ended"] = when
                    waiting = request if request["op"] not in BACKGROUND else None
        runs.append((begun, ended, [request for request in asked if request["op"] not in BACKGROUND]))
    return runs


def table(title, runs, plain_us):
    usual = collections.Counter(tuple(r["op"] for r in asked) for _, _, asked in runs).most_common(1)[0][0]
    runs = [run for run in runs if tuple(r["op"] for r in run[2]) == usual]
    parts = []
    for begun, ended, asked in runs:
        row = []
        for request in asked:
            ran = request["ran"] or request["sent"]
            back = request.get("back", request["ended"])
            row.append((ran - request["sent"], request["ended"] - ran, back - request["ended"]))
        parts.append((ended - begun, row))
    microseconds = lambda values: 1e6 * statistics.median(values)
    print("### %s\n" % title)
    print("| request | wake daemon | daemon | wake client | sum |\n|---|---|---|---|---|")
    sums = [0.0, 0.0, 0.0]
    for number, operation in enumerate(usual):
        columns = [microseconds([row[number][part] for _, row in parts]) for part in range(3)]
        sums = [a + b for a, b in zip(sums, columns)]
        print("| %s | %s | %.1f |" % (operation, " | ".join("%.1f" % c for c in columns), sum(columns)))
    whole = microseconds([whole for whole, _ in parts])
    print("| **%d requests** | %s | %.1f |" % (len(usual), " | ".join("%.1f" % s for s in sums), sum(sums)))
    print("| the client itself | | | | %.1f |" % (whole - sum(sums)))
    print("| **the statement** | | | | **%.1f** |\n" % whole)
    same = sum(1 for _, _, asked in runs for r in asked if r.get("daemon_cpu") == r["cpu"])
    print("Without tracing it takes %.1f us; %d %% of the requests were answered on the client's own processor.\n"
          % (plain_us, 100 * same / max(1, sum(len(asked) for _, _, asked in runs))))


def main():
    program, mountpoint = sys.argv[1:3]
    status = json.loads(subprocess.run([program, "status", "--json"], check=True, capture_output=True).stdout)
    mount, = [m for m in status["mounts"] if m["mountpoint"] == os.path.realpath(mountpoint)]
    daemon = {int(task) for task in os.listdir("/proc/%d/task" % mount["worker_pid"])}
    trace = Trace()
    try:
        for mode, synchronous in (("wal", "normal"), ("delete", "full")):
            path = os.path.join(mountpoint, "account-%s.db" % mode)
            database = sqlite3.connect(path, isolation_level=None)
            database.execute("PRAGMA journal_mode=%s" % mode)
            database.execute("PRAGMA synchronous=%s" % synchronous)
            database.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            database.execute("INSERT INTO t(v) VALUES ('x')")
            for verb, sql in (("SELECT", "SELECT v FROM t WHERE id = 1"), ("INSERT", "INSERT INTO t(v) VALUES ('y')")):
                work = lambda: database.execute(sql).fetchall()
                plain = []
                for _ in range(RUNS):
                    begun = time.monotonic()
                    work()
                    plain.append(time.monotonic() - begun)
                marks = []
                events = trace.record(work, marks)
                runs = requests_of(events, marks, os.getpid(), daemon)
                table("%s, %s, synchronous=%s" % (verb, mode.upper(), synchronous.upper()), runs, 1e6 * statistics.median(plain))
            database.close()
            os.unlink(path)
    finally:
        trace.close()


if __name__ == "__main__":
    main()
