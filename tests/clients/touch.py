"""touch.py DIRECTORY COUNT: a thread each sets the times of the files 0, 1, .. at the same time.

Says "begun" once all have been started, and "done COUNT" with how many succeeded.
"""
import os
import sys
import threading

directory, count = sys.argv[1], int(sys.argv[2])
threading.stack_size(256 * 1024)
done = []


def touch(number):
    os.utime(os.path.join(directory, str(number)))
    done.append(number)


threads = [threading.Thread(target=touch, args=(number,)) for number in range(count)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
print("begun", flush=True)
for thread in threads:
    thread.join()
print("done", len(done), flush=True)
