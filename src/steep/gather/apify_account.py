"""An account at Apify: its token, the clients that send it, and what Apify's refusals mean to a user.

The token is taken from the environment and goes into the `Authorization` header only. What Apify answers is quoted in
messages, so the token is taken out of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from steep.errors import SourceError

if TYPE_CHECKING:
    from apify_client import ApifyClient
    from apify_client.errors import ApifyApiError

TOKENS = "https://console.apify.com/settings/integrations"
BILLING = "https://console.apify.com/billing"
NO_MONEY = ("platform-feature-disabled", "not-enough-usage-to-run-paid-actor", "actor-is-not-rented")
NO_ROOM = ("actor-memory-limit-exceeded", "concurrent-runs-limit-exceeded")
PASSING = (429, 500, 502, 503, 504)


class Account:
    pause = timedelta(milliseconds=500)
    """Before a failed request is made again; doubled from time to time, up to 4 times."""

    def __init__(self, variable: str, actor: str) -> None:
        """``variable``: the name of the environment variable that holds the token."""
        self.variable = variable
        self.actor = actor
        self._token = _token(variable)
        self.client = self._client(retries=4)
        self.without_retries = self._client(retries=0)

    def _client(self, retries: int) -> ApifyClient:
        try:
            from apify_client import ApifyClient
        except ImportError:
            raise SourceError("`apify:` needs the package apify-client: pip install steep[social]") from None
        return ApifyClient(self._token, api_url=_address(), max_retries=retries, min_delay_between_retries=self.pause)

    @staticmethod
    def may_pass(error: Exception) -> bool:
        """Whether a request that failed like this may succeed later."""
        import impit  # apify-client's HTTP
        from apify_client.errors import ApifyApiError

        if isinstance(error, ApifyApiError):
            return error.status_code in PASSING
        return isinstance(error, impit.HTTPError)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what apify-client raises into a `SourceError` that says what to do."""
        from apify_client.errors import ApifyApiError, ApifyClientError

        try:
            yield
        except ApifyApiError as error:
            raise SourceError(self._hidden(self._refusal(error))) from None
        except (ApifyClientError, ValueError, KeyError) as error:  # a KeyError is of a header
            reason = self._hidden(f"{type(error).__name__}: {error}".partition("\n")[0])
            raise SourceError(
                f"Apify's answer cannot be understood ({reason}): is {_address()} reached without a proxy or a log-in "
                "page between? Else `pip install -U apify-client` may help"
            ) from None
        except Exception as error:
            if not self.may_pass(error):
                raise
            raise SourceError(
                f"{_address()} cannot be reached ({type(error).__name__}); the same command goes on where it was"
            ) from None

    def _hidden(self, text: str) -> str:
        return text.replace(self._token, f"${{{self.variable}}}")

    def _refusal(self, error: ApifyApiError) -> str:
        status, said = error.status_code, (error.message or "").strip() or f"HTTP {error.status_code}"
        if status == 401:
            return f"Apify does not accept the token in {self.variable} ({said}): take a valid one from {TOKENS}"
        if error.type in NO_ROOM:
            return f"the Apify account has no room for another run ({said}): wait for its other runs to end"
        if status == 402 or error.type in NO_MONEY:
            return f"the Apify account cannot pay for {self.actor} ({said}): add credit or raise the limit at {BILLING}"
        if status == 403:
            return (
                f"Apify does not let the token in {self.variable} run {self.actor} ({said}): open "
                f"https://apify.com/{self.actor} with the same account and agree to what it asks for"
            )
        if status == 404:
            return f"Apify has not, or no longer, what it was asked for ({said}); the same command asks for it anew"
        if status in PASSING:
            return f"Apify is busy or out of order (HTTP {status}: {said}); the same command goes on where it was"
        return f"Apify refuses what it was asked (HTTP {status}: {said}): check the addresses of the recipe"


def _token(variable: str) -> str:
    token = os.environ.get(variable, "").strip()
    if not token:
        raise SourceError(f"{variable} is not set: export {variable}=… with an API token from {TOKENS}")
    if not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
        raise SourceError(f"{variable} holds no API token of Apify: take one from {TOKENS}")
    return token


def _address() -> str:
    """Apify's own SDK takes it from the same variable; a gateway, or a test, may stand there."""
    return os.environ.get("APIFY_API_BASE_URL") or "https://api.apify.com"
