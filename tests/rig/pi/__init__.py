"""A whole Raspberry Pi, emulated: Debian's kernel and systemd on QEMU's raspi3b, made from Debian's packages."""
