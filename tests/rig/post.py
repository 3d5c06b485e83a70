"""A gateway without a cluster whose MQTT server has three doors, and the certificate authority that it trusts, made for the test."""

import os
import signal
import subprocess
import time

from rig.gateway import Gateway, program
from rig.places import free_ports

WAIT_S = 20
ACL = "allow user:anna both #\nallow * publish city/%c/#\n"


class Authority:
    """A certificate authority made for the test."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate = folder / f"{name}.crt"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", self.certificate,
        )  # fmt: skip

    def issue(self, name, days=2):
        """Returns the paths of a certificate and its key. days < 0: it has expired."""
        stem = self.folder / f"{self.name}-{name}-{days}"
        key, request, certificate = (stem.with_name(stem.name + end) for end in (".key", ".csr", ".crt"))
        self._openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-keyout", key, "-out", request,
        )  # fmt: skip
        extensions = stem.with_name(stem.name + ".ext")
        extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        term = ["-days", str(days)]
        if days < 0:
            term = ["-not_before", "20010101000000Z", "-not_after", "20020101000000Z"]
        self._sign(request, certificate, extensions, days, term)
        return certificate, key

    def _sign(self, request, certificate, extensions, days, term):
        if days >= 0:
            self._openssl(
                "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / f"{self.name}.key",
                "-CAcreateserial", "-extfile", extensions, "-out", certificate, *term,
            )  # fmt: skip
            return
        # `openssl x509` can't write a term in the past before version 3.4; `openssl ca` can.
        database = self.folder / f"{self.name}.index"
        database.write_text("")
        config = self.folder / f"{self.name}.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nnew_certs_dir={self.folder}\ndefault_md=sha256\n"
            "policy=any\nrand_serial=yes\n[any]\ncommonName=supplied\n"
        )
        self._openssl(
            "ca", "-batch", "-notext", "-config", config, "-cert", self.certificate,
            "-keyfile", self.folder / f"{self.name}.key", "-startdate", "20010101000000Z", "-enddate", "20020101000000Z",
            "-extfile", extensions, "-in", request, "-out", certificate,
        )  # fmt: skip

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


class Post(Gateway):
    """A gateway without a cluster whose MQTT server has three doors: plain with passwords, TLS with passwords, TLS with
    certificates."""

    def __init__(self, home):
        self.tls_port, self.certificate_port = free_ports(2)
        self.authority = Authority(home, "authority")
        self.passwords, self.acl = home / "passwords", home / "acl"
        self.certificate, self.key = home / "server.crt", home / "server.key"
        self.acl.write_text(ACL)
        self.install(self.authority)
        for user, password in (("anna", "secret"), ("lamp-7", "hidden")):
            self.set_password(user, password)
        super().__init__(home, "post-17", "")

    def install(self, authority):
        """Gives the server another certificate, as certbot or an operator would."""
        certificate, key = authority.issue("gateway")
        for source, target in ((certificate, self.certificate), (key, self.key)):
            fresh = target.with_suffix(".fresh")
            fresh.write_bytes(source.read_bytes())
            os.replace(fresh, target)

    def set_password(self, user, password):
        command = [str(program()), "passwd", user, "--file", str(self.passwords)]
        done = subprocess.run(command, input=password + "\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert password not in self.passwords.read_text()

    def _configuration(self, _bootstrap, _extra):
        tls = f'certificate = "{self.certificate}"\nkey = "{self.key}"'
        return f"""\
[gateway]
id = "{self.name}"
state_dir = "{self.state_dir}"

[mqtt]
listen = "127.0.0.1:{self.mqtt_port}"
passwords = "{self.passwords}"
acl_file = "{self.acl}"

[[mqtt.listener]]
listen = "127.0.0.1:{self.tls_port}"
{tls}

[[mqtt.listener]]
listen = "127.0.0.1:{self.certificate_port}"
{tls}
client_ca = "{self.authority.certificate}"

[http]
listen = "127.0.0.1:{self.http_port}"
"""

    def read_again(self):
        """SIGHUP, and waits until the files were read."""
        before = self.log.read_text().count("read again") + self.log.read_text().count("can't be used")
        self.child.signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        # Two listeners, and the passwords with the rules.
        while self.log.read_text().count("read again") + self.log.read_text().count("can't be used") < before + 3:
            assert time.monotonic() < deadline, "SIGHUP was not heeded"
            time.sleep(0.05)

    def refusals(self, cause):
        return self.metrics()[f'lamppost_mqtt_refusals_total{{cause="{cause}"}}']
