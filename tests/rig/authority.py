"""Certificate authorities of the rig's own, by the openssl program: for brokers, and for their clients. Everything is PEM, and lies in
one folder for each authority."""

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CONFIG = """\
[ca]
default_ca = own
[own]
database = {home}/index
new_certs_dir = {home}
default_md = sha256
policy = any
rand_serial = yes
unique_subject = no
[any]
commonName = supplied
[extensions]
subjectAltName = IP:127.0.0.1,DNS:localhost
basicConstraints = CA:FALSE
"""


def _openssl(*args: object) -> None:
    done = subprocess.run(["openssl", *(str(arg) for arg in args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {args[0]} failed: {done.stderr}")


def _moment(days: int) -> str:
    return (datetime.now(timezone.utc) + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


class Authority:
    """Signs certificates."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        home.mkdir(parents=True)
        self.certificate, self._key = home / "ca.crt", home / "ca.key"
        self._config = home / "openssl.cnf"
        self._config.write_text(_CONFIG.format(home=home))
        (home / "index").write_text("")
        own = ["-days", 30, "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate]
        _openssl("req", "-x509", *_EC, *own)

    def issue(self, name: str, days: int = 30) -> tuple[Path, Path]:
        """A certificate for `name` at 127.0.0.1, and its key. It counts from a week ago on, for so many days from now; below zero it
        has expired."""
        file = f"{name}-{days}"
        key, request, certificate = (self.home / f"{file}.{end}" for end in ("key", "csr", "crt"))
        _openssl("req", "-new", *_EC, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        # `openssl x509` can't write a term in the past before version 3.4; `openssl ca` can.
        term = ["-startdate", _moment(-7), "-enddate", _moment(days)]
        by = ["-cert", self.certificate, "-keyfile", self._key, "-config", self._config, "-extensions", "extensions"]
        _openssl("ca", "-batch", "-notext", *by, *term, "-in", request, "-out", certificate)
        return certificate, key

    def keystore(self, name: str, days: int = 30) -> Path:
        """The same as one file, as brokers want it."""
        certificate, key = self.issue(name, days)
        store = self.home / f"{name}.pem"
        store.write_text(key.read_text() + certificate.read_text() + self.certificate.read_text())
        return store
