"""Where the system tells nothing of changes: file systems whose files are changed by other machines."""

from __future__ import annotations

import os
import re
import select
from io import FileIO
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = {
    "nfs": "NFS", "nfs4": "NFS", "cifs": "SMB", "smb3": "SMB", "smbfs": "SMB", "9p": "9P", "afpfs": "AFP",
    "ncpfs": "NCP", "vboxsf": "a shared folder", "vmhgfs": "a shared folder", "virtiofs": "a shared folder",
    "ceph": "Ceph", "glusterfs": "GlusterFS", "lustre": "Lustre", "afs": "AFS", "davfs": "WebDAV",
    "prl_fs": "a shared folder", "gfs2": "GFS2", "ocfs2": "OCFS2", "gpfs": "GPFS", "beegfs": "BeeGFS",
    "autofs": "a folder mounted on demand",  # until it is mounted, and says of what kind it is
}  # fmt: skip
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def find_polling_reason(path: Path) -> str:
    """Say why a folder must be polled; empty if the system tells of changes in it.

    On Linux by its mount: on network file systems, shared folders of virtual machines and FUSE, changes made
    elsewhere cause no events; fuseblk (NTFS, exFAT) is a local disk. On Windows by its name (UNC). macOS
    tells of changes on local disks, and there nothing else is looked at: its shares are to be polled with
    `--poll`.
    """
    if os.name == "nt":
        return "on a network share" if str(path).startswith(("\\\\", "//")) else ""
    real = Path(os.path.realpath(path))  # first, since that may mount something
    try:
        mounts = MOUNTS.read_bytes()
    except OSError:
        return ""
    return find_polling_reason_in(mounts, real)


def find_polling_reason_in(mountinfo: bytes, path: Path) -> str:
    """Do the same by the text of a mountinfo file (proc(5)), for a path without links."""
    best, kind = Path(), ""
    for line in mountinfo.splitlines():
        mount, _, rest = line.partition(b" - ")
        fields, types = mount.split(b" "), rest.split(b" ")
        if len(fields) < 5 or not types[0]:
            continue
        point = Path(_unescape(fields[4]))
        # of several at one point the last covers the others
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, types[0].decode("ascii", "replace")
    if kind.startswith("fuse."):
        return f"on FUSE ({kind.removeprefix('fuse.')})"
    if kind == "fuse":
        return "on FUSE"
    return f"on {_REMOTE[kind]}" if kind in _REMOTE else ""


class MountChanges:
    """Whether anything was mounted or unmounted since this was made; only Linux tells."""

    def __init__(self) -> None:
        self._any = False
        self._mounts: FileIO | None = None
        try:
            self._mounts = MOUNTS.open("rb", buffering=0)
        except OSError:
            return

    def any(self) -> bool:
        """Tell, without waiting; once there was a change the answer stays."""
        if self._mounts is not None and not self._any:
            changes = select.poll()
            changes.register(self._mounts, select.POLLPRI)  # proc(5): so it marks a change
            self._any = bool(changes.poll(0))
        return self._any

    def close(self) -> None:
        """End."""
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None


def _unescape(name: bytes) -> str:
    r"""Turn the kernel's `\040` back into what it stands for."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), name))
