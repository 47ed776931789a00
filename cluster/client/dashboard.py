"""A Ray cluster's dashboard over REST, by token. Needs no Ray here; what is asked for is the callers' business."""

from collections.abc import Mapping

import httpx2

from common.errors import BadInput, NotFound, Unauthorised, Unavailable, VersionMismatch

RAY_VERSION = "2.60.0"
"""Of the cluster; the one that pyproject.toml pins."""
TIMEOUT_S = 30.0


class Dashboard:
    def __init__(self, address: str, *, token: str | None) -> None:
        if not address.startswith(("http://", "https://")):
            raise BadInput(f"address: got {address!r}; expected the URL of the cluster's dashboard, http://HOST:8265")
        self.address, self._token = address.rstrip("/"), token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._checked = False

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx2.Response:
        """Raises Unauthorised, NotFound, VersionMismatch, BadInput, Unavailable."""
        if not self._checked:
            self._check()
        return self._call(method, path, body)

    def _check(self) -> None:
        try:
            theirs = self._call("GET", "/api/version", None).json()["ray_version"]
        except (NotFound, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"{self.address}: what answers there is no Ray dashboard; expected its URL, http://HOST:8265") from error
        if theirs != RAY_VERSION:
            raise VersionMismatch(f"{self.address} runs Ray {theirs}; this client is of Ray {RAY_VERSION}. Take the cluster's release.")
        self._checked = True

    def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> httpx2.Response:
        try:
            response = httpx2.request(method, f"{self.address}{path}", json=body, headers=self._headers, timeout=TIMEOUT_S)
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.address}: nobody answers ({error}); is that the dashboard's address, and is it forwarded?") from error
        if response.status_code in (401, 403):
            told = "the token was refused; take the cluster's" if self._token else "it asks for a token and none was given"
            raise Unauthorised(f"{self.address}: {told} (--token-file, LIYOU_TOKEN or RAY_AUTH_TOKEN)")
        if response.status_code == 404:
            raise NotFound(f"{self.address}{path}: there is none; `liyou jobs list` has the jobs there are")
        if response.status_code in (400, 422):
            raise BadInput(f"{self.address}{path} refused what was sent: {response.text:.2000}")
        if response.status_code >= 300:
            raise Unavailable(f"{self.address}{path} answered {response.status_code}: {response.text:.300}")
        return response
