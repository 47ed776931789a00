"""Pods without Kubernetes: a namespace of the kernel for each, in which a process may do what the manifest's pod may do, and no more.

Each has its own network address, its own /tmp and home, a root that is read-only, the image's user, no capability. Needs root and Linux.
"""

import ctypes
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .image import Image

CLONE_NEWNET = 0x40000000
STOP_S = 60
"""As long as a pod's grace period: Ray drains for up to 30 s."""

ROOM = """
root=$(mktemp -d); mount -t tmpfs tmpfs "$root"
for entry in /*; do
    case "$entry" in /tmp | /home | /proc | "$3") continue;; esac
    if [ -L "$entry" ]; then cp -P "$entry" "$root$entry"
    elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"; mount -o remount,ro,bind "$root$entry"; fi
done
mkdir "$root/proc" && mount --rbind /proc "$root/proc"
for folder in $2; do
    mkdir -p "$root$folder"
    if [ "$folder" = "$3" ]; then mount --bind "$4" "$root$folder"; else mount -t tmpfs -o uid=$1,gid=$1 tmpfs "$root$folder"; fi
done
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -o remount,ro "$root"
cd "$root"; uid=$1; shift 4
exec chroot "$root" setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""
"""Arguments: uid, writable folders, the volume's folder among them, what lies behind it, the command."""


class Pod:
    """A template of a manifest, at an address."""

    def __init__(
        self, template: dict[str, Any], *, image: Image, namespace: str, address: str, volume: tuple[str, Path], token: str
    ) -> None:
        spec = template["spec"]
        self.container = spec["containers"][0]
        self.namespace, self.address, self._image, self._volume = namespace, address, image, volume
        self._uid = str(spec["securityContext"]["runAsUser"])
        self._writable = [mount["mountPath"] for mount in self.container["volumeMounts"] if not mount.get("readOnly")]
        self._environment = image.environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}  # as KubeRay sets them

    def command(self, *words: str) -> list[str]:
        folder, behind = self._volume
        room = ["bash", "-euc", ROOM, "room", self._uid, " ".join(self._writable), folder, str(behind)]
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        return ["ip", "netns", "exec", self.namespace, "unshare", "-m", "--propagation", "private", *room, "env", "-i", *settings, *words]

    def run(self, *words: str) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, words: Sequence[str], *, log: Path) -> Iterator[None]:
        with log.open("w") as told, subprocess.Popen(self.command(*words), stdout=told, stderr=told, start_new_session=True) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)

    @contextmanager
    def network(self) -> Iterator[None]:
        """This thread's connections come from the pod."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        theirs = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            enter(theirs)
            yield
        finally:
            enter(own)
            os.close(own)
            os.close(theirs)


def enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def network_of_two(first: str, second: str, addresses: tuple[str, str]) -> Iterator[None]:
    """Two network namespaces and a cable."""
    names, ends = (first, second), (f"{first}0", f"{second}0")
    try:
        for name in names:
            ip(f"netns add {name}")
        ip(f"link add {ends[0]} netns {first} type veth peer name {ends[1]} netns {second}")
        for name, end, address in zip(names, ends, addresses, strict=True):
            ip(f"-n {name} addr add {address}/24 dev {end}")
            ip(f"-n {name} link set {end} up")
            ip(f"-n {name} link set lo up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def ip(words: str) -> None:
    subprocess.run(["ip", *shlex.split(words)], check=True)
