"""A kubelet of a few lines: speaks the container runtime interface to containerd.

cri.py SOCKET IMAGE COMMAND..: makes a pod on the host's network with one container of IMAGE, runs COMMAND in it, prints what it
printed, and removes the pod. The messages are written by hand, for they have few fields; the numbers are those of
k8s.io/cri-api/pkg/apis/runtime/v1/api.proto.
"""

import sys

import grpc

NODE = 2  # NamespaceMode


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def message(*fields):
    """Fields as (number, value): text, bytes of another message, or a whole number."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def parse(data):
    """The last value of each field."""
    fields, at = {}, 0

    def take_varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key = take_varint()
        value = take_varint()
        if key & 7 == 2:
            at += value
            value = data[at - value : at]
        fields[key >> 3] = value
    return fields


socket, image, *command = sys.argv[1:]
channel = grpc.insecure_channel(f"unix://{socket}")
grpc.channel_ready_future(channel).result(timeout=30)


def call(name, *fields):
    method = channel.unary_unary(f"/runtime.v1.RuntimeService/{name}")
    return parse(method(message(*fields), timeout=60))


namespaces = message((1, NODE))
pod_config = message(
    (1, message((1, "pod"), (2, "uid"), (3, "default"))),
    (8, message((2, message((1, namespaces))))),
)
pod = call("RunPodSandbox", (1, pod_config))[1]
try:
    container_config = message(
        (1, message((1, "container"))),
        (2, message((1, image))),
        (3, "sleep"),
        (4, "100000"),
        (15, message((2, message((3, namespaces))))),
    )
    container = call("CreateContainer", (1, pod), (2, container_config), (3, pod_config))[1]
    call("StartContainer", (1, container))
    answer = call("ExecSync", (1, container), *((2, word) for word in command), (3, 30))
    sys.stdout.write(answer.get(1, b"").decode())
    sys.stderr.write(answer.get(2, b"").decode())
    code = answer.get(3, 0)
finally:
    call("StopPodSandbox", (1, pod))
    call("RemovePodSandbox", (1, pod))
sys.exit(code)
