"""Certificates for tests, made by openssl when they are first asked for."""

from __future__ import annotations

import subprocess
from functools import cached_property
from pathlib import Path

from tests.peers.processes import command, need


class Certificates:
    """A certification authority in a folder, and what it signs: each a pair of PEM files (certificate, key)."""

    def __init__(self, folder: Path) -> None:
        need("openssl")
        self._folder = folder
        self.ca = self._authority("ca")

    @cached_property
    def server(self) -> tuple[Path, Path]:
        """For 127.0.0.1 and localhost."""
        return self.signed("server", "IP:127.0.0.1,DNS:localhost")

    @cached_property
    def client(self) -> tuple[Path, Path]:
        """For somebody who calls."""
        return self.signed("client", "DNS:client.invalid")

    @cached_property
    def elsewhere(self) -> tuple[Path, Path]:
        """For another host than the one it will be shown by."""
        return self.signed("elsewhere", "DNS:pacs.invalid")

    @cached_property
    def stranger(self) -> tuple[Path, Path]:
        """For 127.0.0.1, signed by somebody else."""
        self._authority("other")
        return self.signed("stranger", "IP:127.0.0.1", by="other")

    def mutual(self, pair: tuple[Path, Path]) -> tuple[Path, Path, Path]:
        """What ``tls=`` takes: certificate, key, authority."""
        return (*pair, self.ca)

    def _authority(self, name: str) -> Path:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={name} of tests",
            "-keyout", key, "-out", certificate,
        )  # fmt: skip
        return certificate

    def signed(self, name: str, subject: str, by: str = "ca") -> tuple[Path, Path]:
        """A certificate for a subject (alternative names), and its key."""
        certificate, key, request = (self._folder / f"{name}{end}" for end in (".pem", ".key", ".csr"))
        names = self._folder / f"{name}.ext"
        names.write_text(f"subjectAltName={subject}\nbasicConstraints=CA:FALSE\n")
        self._openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self._folder / f"{by}.pem", "-CAkey", self._folder / f"{by}.key",
            "-CAcreateserial", "-days", 2, "-extfile", names, "-out", certificate,
        )  # fmt: skip
        return certificate, key

    def _openssl(self, *arguments: object) -> None:
        subprocess.run([command("openssl") or "openssl", *map(str, arguments)], check=True, capture_output=True)
