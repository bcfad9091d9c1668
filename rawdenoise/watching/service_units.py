"""The files by which an operating system keeps the service running."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence

DESCRIPTION = "rawdenoise: denoise what arrives in watched folders"
INSTALLING = {
    "systemd": "save it as ~/.config/systemd/user/rawdenoise.service, then: systemctl --user enable --now"
    " rawdenoise (and `loginctl enable-linger`, to run without a session)",
    "launchd": "save it as ~/Library/LaunchAgents/org.rawdenoise.watch.plist; launchctl load -w FILE",
}
"""What to do with the file of each kind."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@")


def write_service_unit(kind: str, command: Sequence[str], *, description: str = DESCRIPTION) -> str:
    """Write a systemd user unit or a launchd agent that runs a command, and again whenever it ends."""
    return {"systemd": _systemd, "launchd": _launchd}[kind](command, description)


def _systemd(command: Sequence[str], description: str) -> str:
    return f"""\
[Unit]
Description={description.replace("%", "%%")}
Documentation=https://pypi.org/project/rawdenoise/
# Without limits on starts it also comes back after a night without its disks.
StartLimitIntervalSec=0

[Service]
ExecStart=:{" ".join(_quote(word) for word in command)}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=5
TimeoutStopSec=15
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=7

[Install]
WantedBy=default.target
"""


def _quote(word: str) -> str:
    """Spell a word of ExecStart so that systemd takes it as it is (systemd.service(5), Command lines)."""
    spelling = word.replace("%", "%%")  # a colon before the command leaves every $ as it is
    if word and all(character in _PLAIN for character in word):
        return spelling
    spelling = spelling.replace("\\", "\\\\").replace('"', '\\"')
    spelling = "".join(
        letter if letter >= " " and letter != "\x7f" else f"\\x{ord(letter):02x}" for letter in spelling
    )
    return f'"{spelling}"'


def _launchd(command: Sequence[str], description: str) -> str:
    agent = {
        "Label": "org.rawdenoise.watch",
        "ServiceDescription": description,
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 10,
        "ExitTimeOut": 15,
        "ProcessType": "Background",
    }
    return plistlib.dumps(agent, sort_keys=False).decode()
