"""A kubelet of a few lines: speaks the container runtime interface to containerd.

cri.py SOCKET once IMAGE COMMAND..        makes a pod on the host's network with one container of IMAGE, runs COMMAND in it, prints
                                          what it printed, and removes the pod
cri.py SOCKET apply MANIFEST IMAGE WORD.. makes the pod of a manifest (a Pod, or the template of another kind) with IMAGE and, if
                                          there are WORDs, them for its command; prints the ids of the pod and of its container
cri.py SOCKET exec CONTAINER COMMAND..    runs COMMAND there, and prints what it printed
cri.py SOCKET delete POD                  stops the pod and removes it

The messages are written by hand, for they have few fields; the numbers are those of
k8s.io/cri-api/pkg/apis/runtime/v1/api.proto.
"""

import os
import sys

import grpc

NODE = 2  # NamespaceMode
PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}


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


socket, action, *words = sys.argv[1:]
channel = grpc.insecure_channel(f"unix://{socket}")
grpc.channel_ready_future(channel).result(timeout=30)


def call(name, *fields):
    method = channel.unary_unary(f"/runtime.v1.RuntimeService/{name}")
    return parse(method(message(*fields), timeout=60))


def start(name, app, image, command, mounts=(), privileged=False, host_pid=False):
    """Makes a pod and its one container; gives their ids."""
    namespaces = message((1, NODE), *([(2, NODE)] if host_pid else []))
    pod_config = message(
        (1, message((1, name), (2, f"uid-{name}"), (3, "default"))),
        (8, message((2, message((1, namespaces), (6, int(privileged)))))),
    )
    pod = call("RunPodSandbox", (1, pod_config))[1]
    try:
        security = message((2, int(privileged)), (3, namespaces))
        container_config = message(
            (1, message((1, app))),
            (2, message((1, image))),
            *((3, word) for word in command),
            *((7, mount) for mount in mounts),
            (15, message((2, security))),
        )
        container = call("CreateContainer", (1, pod), (2, container_config), (3, pod_config))[1]
        call("StartContainer", (1, container))
    except Exception:
        delete(pod)
        raise
    return pod, container


def execute(container, command):
    """Runs a command in a container, and gives its exit code."""
    answer = call("ExecSync", (1, container), *((2, word) for word in command), (3, 30))
    sys.stdout.write(answer.get(1, b"").decode())
    sys.stderr.write(answer.get(2, b"").decode())
    return answer.get(3, 0)


def delete(pod):
    call("StopPodSandbox", (1, pod))
    call("RemovePodSandbox", (1, pod))


def apply(path, image, command):
    """What a kubelet makes of a manifest, as far as those of docs/kubernetes say anything."""
    import yaml

    with open(path) as file:
        manifest = yaml.safe_load(file)
    spec = manifest["spec"] if manifest["kind"] == "Pod" else manifest["spec"]["template"]["spec"]
    hosts = {volume["name"]: volume["hostPath"] for volume in spec["volumes"]}
    for host in hosts.values():
        if host["type"] == "DirectoryOrCreate":
            os.makedirs(host["path"], exist_ok=True)
        elif not os.path.isdir(host["path"]):
            sys.exit(f"{host['path']} is no directory")
    (container,) = spec["containers"]
    mounts = [
        message(
            (1, mount["mountPath"]),
            (2, hosts[mount["name"]]["path"]),
            (5, PROPAGATION[mount.get("mountPropagation", "None")]),
        )
        for mount in container["volumeMounts"]
    ]
    privileged = container.get("securityContext", {}).get("privileged", False)
    name = manifest["metadata"]["name"]
    app, words = container["name"], command or container["command"]
    ids = start(name, app, image, words, mounts, privileged, spec.get("hostPID", False))
    print(*(id.decode() for id in ids))


if action == "once":
    pod, container = start("pod", "container", words[0], ["sleep", "100000"])
    try:
        code = execute(container, words[1:])
    finally:
        delete(pod)
    sys.exit(code)
elif action == "apply":
    apply(words[0], words[1], words[2:])
elif action == "exec":
    sys.exit(execute(words[0], words[1:]))
elif action == "delete":
    delete(words[0])
else:
    sys.exit(__doc__)
