"""A sum of vectors of which nobody learns the summands (Bonawitz et al., "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", CCS 2017, section 4, without signatures).

    each contributor u draws  a mask key pair (s_u, S_u), a channel key pair (c_u, C_u), a seed b_u
    0, keys                   u sends S_u and C_u
    1, shares                 u sends each v a share of s_u and of b_u, sealed for v
    2, values                 u sends y_u = x_u + F(b_u) + Σ_{u<v} F(s_u S_v) - Σ_{v<u} F(s_u S_v)
    3, reveals                who is left sends shares: of b_v if v's values came, else of s_v

All arithmetic is modulo 2^64, so the masks cancel exactly. Whoever adds up (an edge server) sees
sealed shares, masked values, and in the end the sum; a contributor that is lost after its shares
came does not spoil it as long as ``threshold`` are left. The adder is taken to be honest but
curious: it follows the protocol. With ``threshold`` of the contributors it could open the others.

F is AES-256 in counter mode, keys are agreed by X25519 and HKDF-SHA-256, shares are sealed by
AES-GCM, secrets shared by Shamir's scheme over GF(2^128).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping

import numpy as np
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gaisnet.errors import SecurityError
from gaisnet.executor.privacy.fixed_point import Words

__all__ = ["FEWEST", "Contributor", "unmasked_sum"]

FEWEST = 3
"""Of two contributors, each knows the other's summand from the sum."""

_KEY, _HALF, _NONCE = 32, 16, 12


class Contributor:
    """One contributor's side of one sum; its secrets serve once.

    Args:
        name: Its id.
        context: Names the sum (run, round, cluster): keys and seals of another do not fit.
        threshold: Contributors that have to be left at the end; more than half of all, and
            ``FEWEST`` or more.
    """

    def __init__(self, name: str, context: str, threshold: int) -> None:
        self._name, self._context, self._threshold = name, context.encode(), threshold
        self._mask, self._channel = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._seed = secrets.token_bytes(_HALF)
        self._keys: dict[str, bytes] = {}
        self._held: dict[str, bytes] = {}
        self._masked = self._revealed = False

    def keys(self) -> bytes:
        """S and C, 64 bytes."""
        pairs = (self._mask, self._channel)
        return b"".join(pair.public_key().public_bytes_raw() for pair in pairs)

    def shares(self, keys: Mapping[str, bytes]) -> dict[str, bytes]:
        """A sealed share for each of the others.

        Args:
            keys: Of all contributors, by name.

        Raises:
            SecurityError: They are too few to hide each other, or the threshold does not fit.
        """
        count = len(keys)
        if self._threshold < FEWEST or not count < 2 * self._threshold <= 2 * count:
            raise SecurityError(
                f"{count} contributors, threshold {self._threshold}: they do not hide each other",
                hint=f"secure aggregation takes {FEWEST} or more, with a threshold above half",
            )
        self._keys = dict(keys)
        secret = self._mask.private_bytes_raw() + self._seed
        parts = [
            Shamir.split(self._threshold, count, secret[start : start + _HALF])
            for start in range(0, _KEY + _HALF, _HALF)
        ]
        sealed = {}
        for place, name in enumerate(sorted(keys)):
            share = b"".join(part[place][1] for part in parts)
            if name == self._name:
                self._held[name] = share
            else:
                sealed[name] = self._seal(name, share)
        return sealed

    def masked(self, words: Words, shares: Mapping[str, bytes]) -> Words:
        """The values under this contributor's masks, to be added up.

        Args:
            words: What it has to add, ``[n]``.
            shares: Sealed for it, by sender; those whose shares came are who takes part.

        Raises:
            SecurityError: It was asked before (the difference of two answers is not masked), a
                seal is broken, or too few shares came.
        """
        if self._masked:
            raise SecurityError(f"{self._name} does not mask anything twice")
        for name, sealed in sorted(shares.items()):
            self._held[name] = self._open(name, sealed)
        if len(self._held) < self._threshold:
            raise SecurityError(f"{self._name}: only {len(self._held)} contributors are left")
        total = words + _stream(_expand(self._seed, self._context), len(words))
        for name in sorted(self._held.keys() - {self._name}):
            key = _agreed(self._mask, self._keys[name][:_KEY], self._context)
            mask = _stream(key, len(words))
            total = total + mask if self._name < name else total - mask
        self._masked = True
        return total

    def reveal(self, survivors: Collection[str]) -> dict[str, bytes]:
        """Shares that unmask the sum over ``survivors``: of seeds of these, of keys of the lost.

        Raises:
            SecurityError: It was asked before (two answers would open a contributor's values),
                or the survivors are too few, or not among those that took part.
        """
        known = set(survivors) <= self._held.keys()
        if self._revealed or not known or len(set(survivors)) < self._threshold:
            raise SecurityError(f"{self._name} does not unmask a sum over {sorted(survivors)}")
        self._revealed = True
        return {
            name: share[_KEY:] if name in survivors else share[:_KEY]
            for name, share in sorted(self._held.items())
        }

    def _seal(self, receiver: str, share: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        bound = self._bound(self._name, receiver)
        return nonce + AESGCM(self._channel_key(receiver)).encrypt(nonce, share, bound)

    def _open(self, sender: str, sealed: bytes) -> bytes:
        try:
            key, bound = self._channel_key(sender), self._bound(sender, self._name)
            return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
        except (InvalidTag, KeyError, ValueError) as error:
            raise SecurityError(f"{self._name}: the share of {sender} is not genuine") from error

    def _channel_key(self, other: str) -> bytes:
        return _agreed(self._channel, self._keys[other][_KEY:], self._context)

    def _bound(self, sender: str, receiver: str) -> bytes:
        return b"\0".join((self._context, sender.encode(), receiver.encode()))


def unmasked_sum(
    masked: Mapping[str, Words],
    keys: Mapping[str, bytes],
    reveals: Mapping[str, Mapping[str, bytes]],
    context: str,
    threshold: int,
) -> Words:
    """The sum of the values whose masked form came.

    Args:
        masked: By contributor, ``[n]`` each.
        keys: Of all contributors that sent keys.
        reveals: What at least ``threshold`` contributors revealed, by who did.
        context: As the contributors were given it.
        threshold: Likewise.

    Raises:
        SecurityError: Too few revealed.
    """
    if len(reveals) < threshold:
        raise SecurityError(f"{len(reveals)} of the {threshold} contributors needed are left")
    places = {name: place + 1 for place, name in enumerate(sorted(keys))}
    total: Words = np.sum(np.stack([masked[name] for name in sorted(masked)]), 0, dtype=np.uint64)
    taking_part = sorted(next(iter(reveals.values())))
    chosen = sorted(reveals)[:threshold]
    for name in taking_part:
        shares = [(places[who], reveals[who][name]) for who in chosen]
        secret = b"".join(
            Shamir.combine([(place, share[start : start + _HALF]) for place, share in shares])
            for start in range(0, len(shares[0][1]), _HALF)
        )
        if name in masked:
            total = total - _stream(_expand(secret, context.encode()), len(total))
        else:
            total = total + _leftover(name, secret, masked, keys, context, len(total))
    return total


def _leftover(
    name: str,
    secret: bytes,
    masked: Mapping[str, Words],
    keys: Mapping[str, bytes],
    context: str,
    count: int,
) -> Words:
    """What a lost contributor would have cancelled: the pairwise masks of the others with it."""
    private = X25519PrivateKey.from_private_bytes(secret)
    total: Words = np.zeros(count, np.uint64)
    for other in sorted(masked):
        mask = _stream(_agreed(private, keys[other][:_KEY], context.encode()), count)
        total = total + mask if name < other else total - mask
    return total


def _agreed(private: X25519PrivateKey, public: bytes, context: bytes) -> bytes:
    return _expand(private.exchange(X25519PublicKey.from_public_bytes(public)), context)


def _expand(secret: bytes, context: bytes) -> bytes:
    return HKDF(SHA256(), _KEY, salt=None, info=context).derive(secret)


def _stream(key: bytes, count: int) -> Words:
    """The first ``count`` words of AES-CTR under ``key``; every key is used for one stream."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(_HALF))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * count)), dtype="<u8").astype(np.uint64)
