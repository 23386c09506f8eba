"""Recognises secrets and personal data in a text, by rules. No I/O.

A question that holds any is not answered from cache, and neither it nor its answer is stored. The
rules ask for a form that hardly occurs by chance, and for a check sum where there is one: they miss
what has no form, such as a name or a password in a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# What is asked of each place in a text has a bound: else a long text of hyphens takes minutes.
_TOKEN = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or|svcacct)?[-_]?[A-Za-z0-9_-]{20,}"
    r"|\bgh[opsur]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{18,}|\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{30,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}\b"
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
)
_IN_URL = re.compile(r"://[^\s/:@]+:[^\s/@]+@[^\s/]+")
_PASSWORD = re.compile(
    r"(?i:\b(?:password|passwd|passphrase|api[_ -]?key|secret|access[_ -]?token)\b"
    r"\s*(?:is|=|:)\s*[\"']?(?=\S{0,200}\d)[^\s\"']{8,})"
)
_IN_TOKENS = (
    "-----BEGIN", "sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "gho_", "ghp_", "ghs_", "ghu_", "ghr_",
    "github_pat_", "glpat-", "hf_", "npm_", "xox", "AKIA", "ASIA", "AIza", "eyJ",
)  # fmt: skip
_IN_PASSWORDS = ("passw", "passphrase", "api", "secret", "token")
_IN_INJECTIONS = ("<|", "inst]", "sys>>", "##", "ignore", "disregard", "forget", "override", "from")
"""What a text must hold to be worth the patterns: every question is read on the way of a miss, and
these are found a hundred times as fast."""

_DIGITS = "0123456789"
_DIGIT = re.compile(r"\d")

_CARD = re.compile(r"(?<!\d)(?<!\d\.)(?:\d[ -]?){12,18}\d(?!\.?\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]+\.)+[A-Za-z]{2,24}\b")
_PHONE = re.compile(r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?)(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}(?![\w-])")
_INJECTION = re.compile(
    r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|?>"
    r"|\[/?INST\]|<</?SYS>>|^[ \t]*#{2,}[ \t]*(?:system|instruction)s?[ \t]*:"
    r"|(?i:\b(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+|the\s+|your\s+)*"
    r"(?:previous|prior|above|earlier|preceding)\s+(?:instruction|prompt|message|rule|direction)s?)"
    r"|(?i:\bfrom\s+now\s+on,?\s+(?:you\s+(?:are|will|must)|always|answer|respond))",
    re.MULTILINE,
)


def _holds(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def _digits(text: str) -> int:
    """Return how many digits there are, at once for the usual text."""
    return sum(map(text.count, _DIGITS)) if text.isascii() else len(_DIGIT.findall(text))


def _injection(text: str) -> bool:
    return _holds(text.lower(), _IN_INJECTIONS) and _INJECTION.search(text) is not None


def _secret(text: str) -> bool:
    return (
        (_holds(text, _IN_TOKENS) and _TOKEN.search(text) is not None)
        or ("://" in text and "@" in text and _IN_URL.search(text) is not None)
        or (_holds(text.lower(), _IN_PASSWORDS) and _PASSWORD.search(text) is not None)
    )


def _card(text: str) -> bool:
    return _digits(text) >= 13 and any(_is_card(found.group()) for found in _CARD.finditer(text))


def _account(text: str) -> bool:
    return _digits(text) >= 2 and any(_is_iban(found.group()) for found in _IBAN.finditer(text))


def _identity(text: str) -> bool:
    return "-" in text and _digits(text) >= 9 and _SSN.search(text) is not None


def _email(text: str) -> bool:
    return "@" in text and _EMAIL.search(text) is not None


def _phone(text: str) -> bool:
    return "+" in text and _PHONE.search(text) is not None


DETECTORS: dict[str, Callable[[str], bool]] = {
    "secrets": _secret,
    "cards": _card,
    "accounts": _account,
    "identities": _identity,
    "emails": _email,
    "phones": _phone,
    "injections": _injection,
}
"""By name: keys, tokens and passwords; numbers of payment cards and of bank accounts (IBAN); US
social security numbers; e-mail addresses; international telephone numbers; text that is
meant to steer a model: marks of chat templates, and orders to forget what it was told."""

DEFAULT_DETECTORS = ("secrets", "cards", "accounts", "identities", "injections")
"""What hardly anybody asks about on purpose. Addresses and numbers to call are in many answers."""


def sensitive(text: str, kinds: Sequence[str]) -> str | None:
    """Return the first of ``kinds`` that a text holds, ``None`` when it holds none.

    >>> sensitive("Is 4111 1111 1111 1111 valid?", ["secrets", "cards"])
    'cards'
    >>> sensitive("How many digits has a card?", ["cards"])
    """
    for kind in kinds:
        if DETECTORS[kind](text):
            return kind
    return None


def _is_card(text: str) -> bool:
    """Return whether digits pass the check of Luhn, ISO/IEC 7812-1."""
    digits = [int(character) for character in text if character.isdigit()]
    if len(set(digits)) < 2 or not 13 <= len(digits) <= 19:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Return whether an account passes the check of ISO 13616: 1 modulo 97."""
    account = text.replace(" ", "")
    if not 15 <= len(account) <= 34:
        return False
    moved = account[4:] + account[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1
