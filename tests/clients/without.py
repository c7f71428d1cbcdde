"""without.py CALL COMMAND..: runs COMMAND as a kernel that does not have the system call CALL would.

A filter of seccomp(2) answers ENOSYS. The numbers of calls as young as these are the same on every architecture.
"""

import ctypes
import errno
import os
import struct
import sys

NUMBERS = {"open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_open": 434}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000

call, *command = sys.argv[1:]
# The number of the call is at the beginning of seccomp's data.
instructions = [
    (LOAD_WORD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, NUMBERS[call]),
    (RETURN, 0, 0, RET_ERRNO | errno.ENOSYS),
    (RETURN, 0, 0, RET_ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
for arguments in [(PR_SET_NO_NEW_PRIVS, 1), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))]:
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(command[0], command)
