"""waiters.py FILE COUNT: COUNT threads that each wait for a lock of the whole file; says "ready" when all have begun to.

Whoever gets it keeps it until the process ends.
"""
import fcntl
import sys
import threading

threading.stack_size(256 * 1024)
file = open(sys.argv[1], "r+b")
begun = threading.Semaphore(0)


def wait():
    begun.release()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX)
    except OSError:
        pass


for _ in range(int(sys.argv[2])):
    threading.Thread(target=wait, daemon=True).start()
    begun.acquire()
print("ready", flush=True)
sys.stdin.read()
