"""many_locks.py FILE COUNT: takes COUNT locks of one byte, none beside another, and reports how many it was given.

The first refusal ends it: {"done": GIVEN, "errors": {ERRNO: 1}}.
"""
import errno
import fcntl
import json
import sys

file = open(sys.argv[1], "r+b")
done, errors = 0, {}
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * number)
        done += 1
    except OSError as error:
        errors[errno.errorcode[error.errno]] = 1
        break
print(json.dumps({"done": done, "errors": errors}), flush=True)
sys.stdin.readline()
