"""`install-service` as a new user runs it: under a real systemd the daemon runs and is found."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import ROOT, SHARED
from sounds import write_wav

# Everything that is written lies in memory: copies of /etc, and empty /var/lib and /var/spool. The
# installation lies where every user may enter, unlike this Python and this checkout perhaps.
DRIVE = r"""
for i in $(seq 300); do systemctl list-units >/dev/null 2>&1 && break; sleep .2; done
cp -a /etc /run/etc && mount --bind /run/etc /etc
for each in /var/lib /var/spool; do mount -t tmpfs -o mode=755 tmpfs $each; done
mkdir -m 700 /var/lib/private
mkdir /run/python /run/site /run/project
mount --bind $PREFIX /run/python
mount --bind $SITE /run/site
mount --bind $ROOT /run/project
/run/python/bin/$(basename $(readlink -f $PYTHON)) -m venv --without-pip /run/venv
echo "/run/project
/run/site" > $(echo /run/venv/lib/python*/site-packages)/project.pth
tinyastd=/run/venv/bin/tinyastd
echo "#!/run/venv/bin/python
from daemon.cli.app import main
main()" > $tinyastd; chmod +x $tinyastd
cd /run
install -m 644 $GIVEN $SOUND
# Nothing else of a system is started.
alone() { mkdir -p $1/$2.service.d
  printf "[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:$3\n" \
    > $1/$2.service.d/alone.conf
  echo "StandardError=append:$3" >> $1/$2.service.d/alone.conf; }
person() { setpriv --reuid 12345 --regid 12345 --clear-groups env HOME=/run/person \
  XDG_RUNTIME_DIR=/run/user/12345 "$@"; }
stranger() { setpriv --reuid 12346 --regid 12346 --clear-groups env -u XDG_RUNTIME_DIR "$@"; }
heard() { grep -m1 -o tone.wav < <("$@" listen --since 0 --json); }

echo system
alone /etc/systemd/system tinyastd /run/system.log
alone /etc/systemd/system person /run/person.log
$tinyastd install-service --config "$SETTINGS" | head -3
systemctl daemon-reload
systemctl enable --now tinyastd 2>/dev/null || { cat /run/system.log; exit 1; }
cp $SOUND /var/spool/tinyast/tone.wav
heard $tinyastd
$tinyastd status | grep -o "watching, /.*"
stranger $tinyastd status; stranger timeout 60 $tinyastd listen; stranger $tinyastd reprocess $SOUND
$tinyastd reprocess /var/spool/tinyast
$tinyastd reprocess $SOUND
systemctl stop tinyastd
$tinyastd status

echo user
echo person:x:12345:12345::/run/person:/bin/sh >> /etc/passwd
echo person:x:12345: >> /etc/group
mkdir -p /run/user/12345 /run/person; chown 12345:12345 /run/user/12345 /run/person
chmod 700 /run/user/12345; chmod 755 /sys/fs/cgroup
cat > /etc/systemd/system/person.service <<END
[Service]
User=person
Delegate=yes
Environment=HOME=/run/person XDG_RUNTIME_DIR=/run/user/12345
ExecStart=/lib/systemd/systemd --user
END
systemctl daemon-reload; systemctl start person
for i in $(seq 300); do person systemctl --user list-units >/dev/null 2>&1 && break; sleep .2; done
person bash -c "$(declare -f alone)
alone /run/person/.config/systemd/user tinyastd /run/person/log"
person $tinyastd install-service --user | head -3
person systemctl --user daemon-reload
person systemctl --user enable --now tinyastd 2>/dev/null || { cat /run/person/log; exit 1; }
person cp $SOUND /run/person/tinyast-recordings/tone.wav
heard person $tinyastd
person $tinyastd status | grep -o "watching, /.*"
person $tinyastd reprocess /run/person/tinyast-recordings
person systemctl --user stop tinyastd
person $tinyastd status
"""
REFUSED = (
    "tinyastd: permission denied: a daemon's sockets are in /run/tinyast, and this user may not "
    "use them; try again with sudo, or as the daemon's user"
)
SETTINGS = """/etc/tinyast/50% of "my" $HOME's \\ ö.toml"""  # each letter means something in a unit
NOW = "1 file: the daemon classifies them again now"


def stopped(place: str, unit: str, systemctl: str) -> str:
    return (
        f"tinyastd: no daemon answers at {place}; the service is installed ({unit}): start it with "
        f"`{systemctl} start tinyastd`, and `{systemctl} status tinyastd` says how it last ended"
    )


def test_a_new_user_installs_starts_and_finds_the_service(tmp_path: Path) -> None:
    nest = SHARED / "systemd" / "nest.sh"
    if not nest.exists() or shutil.which("systemctl") is None:
        pytest.skip(f"there is no {nest} to boot a systemd with")
    if os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("booting a systemd needs root and writable control groups")
    write_wav(tmp_path / "tone.wav")
    unit, drive = tmp_path / "idle.service", tmp_path / "drive.sh"
    unit.write_text("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
    names = {
        "PYTHON": sys.executable,
        "PREFIX": sys.base_prefix,
        "SITE": Path(typer.__file__).parent.parent,
        "ROOT": ROOT,
        "GIVEN": tmp_path / "tone.wav",
        "SOUND": "/run/tone.wav",  # where every user may read it
    }
    names["SETTINGS"] = shlex.quote(SETTINGS)
    drive.write_text("".join(f"{key}={value}\n" for key, value in names.items()) + DRIVE)
    done = subprocess.run(
        ["bash", str(nest), str(unit), str(drive), "280"], capture_output=True, text=True
    )
    print(done.stdout, done.stderr)
    assert done.stdout[done.stdout.index("system\n") :].splitlines() == [
        "system",
        "wrote /etc/systemd/system/tinyastd.service",
        f"wrote {SETTINGS}, watching /var/spool/tinyast",
        "Next:",
        "tone.wav",
        "watching, /var/spool/tinyast",
        *(REFUSED, REFUSED, REFUSED),
        NOW,
        "tinyastd: /run/tone.wav is in no watched folder; watched are /var/spool/tinyast",
        stopped("tcp://127.0.0.1:5756", "/etc/systemd/system/tinyastd.service", "systemctl"),
        "user",
        "wrote /run/person/.config/systemd/user/tinyastd.service",
        "wrote /run/person/.config/tinyast/tinyast.toml, watching /run/person/tinyast-recordings",
        "Next:",
        "tone.wav",
        "watching, /run/person/tinyast-recordings",
        NOW,
        stopped(
            "tcp://127.0.0.1:5756",
            "/run/person/.config/systemd/user/tinyastd.service",
            "systemctl --user",
        ),
    ]
