"""bank.py DB: moves money between accounts, one transaction each, without a busy timeout, until its input is closed.

Says "ready", waits for a line, and reports one line of JSON at the end. The sum over all accounts never changes.
"""
import collections
import json
import random
import select
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
done, errors = 0, collections.Counter()
print("ready", flush=True)
sys.stdin.readline()
while not select.select([sys.stdin], [], [], 0)[0]:
    giver, taker = random.randrange(1000), random.randrange(1000)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE accounts SET balance = balance - 1 WHERE id = ?", (giver,))
        connection.execute("UPDATE accounts SET balance = balance + 1 WHERE id = ?", (taker,))
        connection.execute("COMMIT")
        done += 1
    except sqlite3.Error as error:
        errors[str(error)] += 1
        if connection.in_transaction:
            connection.rollback()
print(json.dumps({"done": done, "errors": errors}), flush=True)
