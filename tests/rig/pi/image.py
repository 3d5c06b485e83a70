"""What the emulated Raspberry Pi starts from: Debian's kernel, an initial RAM disk of our own, and a card with a minimal Debian."""

import functools
import re
import shutil
import subprocess
from pathlib import Path

from rig.pi.packages import HOME, MIRROR, depends_on, unpacked

_KERNEL_PACKAGE = "linux-image-arm64"
# Loaded before the root file system is there, in this order, each after what it depends on. What one machine lacks, it leaves out.
_MODULES = (
    # QEMU's `virt`
    "virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net",
    # raspi3b: its card, its USB network, its I2C
    "bcm2835", "phy-generic", "dwc2", "cdc_ether", "i2c-dev", "i2c-bcm2835", "bcm2835_wdt",
    "ext4",
)  # fmt: skip
# Other drivers for QEMU's network adapter, which would take it and can't work it.
_NOT_FOR_US = ("cdc_subset", "rndis_host")

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "$module" 2>/dev/null; done < /modules.list
root= init=/sbin/init
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in
        root=*) root=${word#root=} ;;
        init=*) init=${word#init=} ;;
    esac
done
n=0
until [ -b "$root" ]; do
    n=$((n + 1))
    [ $n -gt 600 ] && { echo "no $root after a minute"; exec /bin/busybox poweroff -f; }
    /bin/busybox usleep 100000
done
/bin/busybox mount -t ext4 -o rw,noatime "$root" /card || { echo "$root can't be mounted"; exec /bin/busybox poweroff -f; }
for folder in proc sys dev; do /bin/busybox mount --move /$folder /card/$folder; done
exec /bin/busybox switch_root /card "$init"
"""


@functools.cache
def kernel() -> Path:
    """Debian's kernel for ARM64, unpacked: boot/vmlinuz-*, its modules and the boards' device trees."""
    (image,) = [name for name in depends_on(_KERNEL_PACKAGE, "arm64") if name.startswith("linux-image-")]
    return unpacked("kernel", "arm64", [image, "busybox-static"])


def vmlinuz() -> Path:
    (found,) = kernel().glob("boot/vmlinuz-*")
    return found


def device_tree() -> Path:
    """The Raspberry Pi 3B's, with the serial console where QEMU has it."""
    (source,) = kernel().glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")
    made = HOME / "raspi3b.dtb"
    shutil.copyfile(source, made)
    # The console's UART is wired to the Bluetooth chip on the board; there is none here, and no console beside it.
    subprocess.run(["fdtput", "-r", str(made), "/soc/serial@7e201000/bluetooth"], check=True)
    return made


def _modules() -> list[Path]:
    """The files of `_MODULES` and all that they depend on, in an order in which they can be loaded."""
    files = {path.stem.replace("-", "_"): path for path in kernel().glob("lib/modules/*/kernel/**/*.ko")}
    # The card's host controller and a few others are called alike; the card's is meant.
    files["bcm2835"] = next(kernel().glob("lib/modules/*/kernel/drivers/mmc/host/bcm2835.ko"))
    ordered: dict[str, Path] = {}

    def load(name: str) -> None:
        name = name.replace("-", "_")
        if name in ordered or name not in files:
            return
        (needed,) = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes()).groups()
        for other in needed.decode().split(","):
            load(other)
        ordered[name] = files[name]

    for name in _MODULES:
        load(name)
    # ext4 finds its checksum by name, so nothing depends on it.
    load("crc32c_generic")
    return list(ordered.values())


def initrd() -> Path:
    """The initial RAM disk: BusyBox, the modules, and a script that mounts `root=` and goes on there."""
    made = HOME / "initrd.cpio"
    folder = HOME / "initrd"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "card", "modules"):
        (folder / name).mkdir(parents=True)
    shutil.copy(kernel() / "bin" / "busybox", folder / "bin" / "busybox")
    names = []
    for module in _modules():
        shutil.copy(module, folder / "modules" / module.name)
        names.append(f"/modules/{module.name}")
    (folder / "modules.list").write_text("".join(f"{name}\n" for name in names))
    (folder / "init").write_text(_INIT)
    (folder / "init").chmod(0o755)
    _cpio(folder, made)
    return made


def _cpio(folder: Path, made: Path) -> None:
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    with made.open("wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"],
            input="\n".join(paths).encode(),
            stdout=out,
            cwd=folder,
            check=True,
        )


_SUITE = "bookworm"
_INCLUDED = "systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,iproute2,netbase,e2fsprogs,procps"
# Two ways to the same card: QEMU wants the size of an SD card to be a power of two.
_BYTES = 2 << 30

# Runs once, as the first process on the machine that the card is made on: Debian's own scripts for its packages, then ours.
_SECOND_STAGE = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp DEBIAN_FRONTEND=noninteractive LC_ALL=C
mount -o remount,rw /
finish() { mountpoint -q /proc || mount -t proc proc /proc; sync; echo "the card is made: $1"; mount -o remount,ro /; echo o > /proc/sysrq-trigger; sleep 60; }
/debootstrap/debootstrap --second-stage || { tail -n 20 /debootstrap/debootstrap.log; finish no; }
passwd -d root
systemctl enable systemd-networkd
systemctl set-default multi-user.target
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /etc/dpkg/dpkg.cfg.d/making /second-stage
finish yes
"""

_FILES = {
    "second-stage": _SECOND_STAGE,
    "etc/dpkg/dpkg.cfg.d/making": "force-unsafe-io\n",
    "etc/hostname": "post\n",
    "etc/fstab": "/dev/root / ext4 defaults,noatime,errors=remount-ro 0 1\n",
    "etc/systemd/network/10-any.network": "[Match]\nName=en* eth* usb*\n\n[Network]\nDHCP=ipv4\n",
    # The rig answers for the time; there is no clock on the board.
    "etc/systemd/timesyncd.conf.d/rig.conf": "[Time]\nNTP=10.0.2.2\nFallbackNTP=\nRootDistanceMaxSec=30\nPollIntervalMinSec=16\n",
    # A shell for the rig, without a login.
    "etc/systemd/system/serial-getty@ttyAMA0.service.d/autologin.conf": (
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,38400,9600 - dumb\n"
    ),
    "etc/systemd/journald.conf.d/volatile.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n",
}


def rootfs_image() -> Path:
    """A card with a minimal Debian for ARM64 whose packages are not set up yet: `init=/second-stage` does that."""
    made = HOME / "unpacked.img"
    folder = HOME / "rootfs"
    shutil.rmtree(folder, ignore_errors=True)
    bootstrap = ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", f"--include={_INCLUDED}", _SUITE, str(folder), MIRROR]
    answer = subprocess.run(bootstrap, capture_output=True, text=True)
    if answer.returncode != 0:
        raise RuntimeError(f"debootstrap failed:\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}")
    # In a container debootstrap leaves links to themselves where the file systems of a kernel belong.
    for name in ("proc", "sys", "dev"):
        if (folder / name).is_symlink():
            (folder / name).unlink()
        (folder / name).mkdir(exist_ok=True)
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "second-stage").chmod(0o755)
    made.unlink(missing_ok=True)
    with made.open("wb") as out:
        out.truncate(_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", str(folder), str(made)], check=True)
    shutil.rmtree(folder)
    return made
