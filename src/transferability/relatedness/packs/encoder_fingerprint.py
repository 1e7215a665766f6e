"""Which encoder made the features of a pack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["EncoderFingerprint"]


class EncoderFingerprint(NamedTuple):
    """Which encoder made the features: its name, and a hash of everything that changes what they mean."""

    name: str
    fingerprint: str | None  # None where the encoder cannot tell what it depends on

    @classmethod
    def of(cls, name: str, identity: Mapping[str, Any] | None) -> EncoderFingerprint:
        """Return the fingerprint of an encoder from the identity that it tells.

        The device is left out, and so are library versions, and the settings as the libraries hold them, where the
        weights have a hash of their own: a pack must serve other machines than the one it was made on.
        """
        if identity is None:
            return cls(name, None)
        left_out = {"device", "versions", "settings"} if "weights" in identity else {"device"}
        kept = {key: value for key, value in identity.items() if key not in left_out}
        canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return cls(name, hashlib.sha256(canonical.encode()).hexdigest())

    def fits(self, other: EncoderFingerprint) -> bool:
        """Whether both make the same features: by fingerprint, or by name where neither has one."""
        if self.fingerprint is None and other.fingerprint is None:
            return self.name == other.name
        return self.fingerprint == other.fingerprint

    def __str__(self) -> str:
        return f"{self.name!r} ({'no fingerprint' if self.fingerprint is None else self.fingerprint[:12]})"


EncoderMark = EncoderFingerprint
"""The name before version 0.2, which pickles hold."""
