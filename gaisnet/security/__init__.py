"""Who may take part: a private authority, certificates and tokens of devices, and their checks."""

from gaisnet.security.credentials import Credentials, credentials_from, read_credentials
from gaisnet.security.knock import knock

__all__ = ["Credentials", "credentials_from", "knock", "read_credentials"]
