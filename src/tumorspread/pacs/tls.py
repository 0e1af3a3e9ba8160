"""TLS as the secure transport profiles of DICOM PS3.15 annex B ask for: version 1.2 or later, both sides known."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorspread.errors import NetworkError

# A peer that says nothing for that long while TLS or a message is under way is gone, seconds.
SILENCE_S = 60.0


@dataclass(frozen=True)
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: ours, with the chain to its issuer.
        key: its private key.
        authority: certificates that sign those of the others; they must have one then. None asks callers for none,
            and trusts the system's authorities when sending.
    """

    certificate: Path
    key: Path
    authority: Path | None = None


class _LateHandshake(ssl.SSLContext):
    """Leaves the handshake to the first read, which has a thread of its own.

    pynetdicom wraps a socket where it accepts it: there, one caller that never speaks would keep all others out.
    """

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(SILENCE_S)
        return super().wrap_socket(sock, *args, **{**options, "do_handshake_on_connect": False})


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For those that call us.

    Raises:
        NetworkError: a file cannot be used.
    """
    context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
    if files.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For those that we call; their certificate must bear the name of their host.

    Raises:
        NetworkError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.authority is None:
        context.load_default_certs()
    return _loaded(context, files)


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.authority is not None:
            context.load_verify_locations(files.authority)
    except OSError as error:
        shown = ", ".join(str(path) for path in (files.certificate, files.key, files.authority) if path is not None)
        raise NetworkError(
            f"cannot use {shown} ({error.strerror or error}); expected PEM files, the key without a password"
        ) from error
    return context
