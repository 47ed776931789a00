"""Every error a caller can act on, with the stable code and HTTP status it crosses the wire with. What only we can break is an `assert`.

LiyouError
  BadInput ......... the caller sent or wrote something wrong (422)
  NotFound ......... what was named does not exist (404)
  Unauthorised ..... who asks is not known (401)
  Forbidden ........ who asks is known, and may not (403)
  Refused .......... it exists, and using it would be unsafe or untrue (409)
  Unavailable ...... right now it cannot be done; trying again may work (503)
"""


class LiyouError(Exception):
    """`code` is stable across releases and part of the HTTP contract; `retryable` says whether the same call may succeed later.

    `fields` are (JSON pointer, what is wrong there) where the input was a document.
    """

    code = "internal"
    status = 500
    retryable = False

    def __init__(self, message: str = "", *, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


def by_code(code: str) -> type[LiyouError]:
    """The error that crosses the wire under this code; LiyouError for one of a newer server."""

    def kinds(kind: type[LiyouError]) -> list[type[LiyouError]]:
        return [kind, *(below for sub in kind.__subclasses__() if sub.__module__ == __name__ for below in kinds(sub))]

    return next((kind for kind in kinds(LiyouError) if kind.code == code), LiyouError)


class BadInput(LiyouError):
    code, status = "bad_input", 422


class ConfigError(BadInput):
    """A configuration, pack or mapping file names an unknown field or a wrong value."""

    code = "bad_config"


class BadRow(BadInput):
    """A raw row cannot become a record; goes to the rejects file with row number and remedy."""

    code = "bad_row"


class BadRequest(BadInput):
    """The body is not JSON, or not of the shape the schema says."""

    code, status = "bad_request", 400


class BadControl(BadInput):
    """A control code that the bundle's vocabulary does not have."""

    code = "bad_control"


class BadChannel(BadInput):
    """A channel that the pack does not have, or a query that it does not take or lacks."""

    code = "bad_channel"


class TooLarge(BadInput):
    """A body, page or prompt beyond its documented bound."""

    code, status = "too_large", 413


class UnsupportedMedia(BadInput):
    code, status = "unsupported_media_type", 415


class PromptTooLong(BadInput):
    """A prompt that does not fit the base model even after the oldest history was dropped."""

    code = "prompt_too_long"


class UnsupportedModel(BadInput):
    """A base model of a kind that the engine or the trimmer cannot run; named, never guessed."""

    code = "unsupported_model"


class NotFound(LiyouError):
    code, status = "not_found", 404


class ProductNotFound(NotFound):
    code = "product_not_found"


class BundleNotFound(NotFound):
    code = "bundle_not_found"


class ArtifactNotFound(NotFound):
    code = "artifact_not_found"


class Refused(LiyouError):
    code, status = "refused", 409


class TakenDown(Refused):
    """Nothing is to be shown of it any more: somebody ordered so."""

    code = "taken_down"


class ConstraintsUnmet(Refused):
    """No text that may be shown is as its item asks. `retryable` where the model was not asked: it may find one."""

    code = "constraints_unmet"

    def __init__(self, message: str = "", *, retryable: bool = False, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, fields=fields)
        self.retryable = retryable


class DigestMismatch(Refused):
    """Bytes that are not the ones their digest names: corruption or tampering."""

    code = "digest_mismatch"


class SignatureInvalid(Refused):
    """A signature that is missing where one is demanded, or that no trusted key made."""

    code = "signature_invalid"


class SignatureExpired(Refused):
    """A true signature of another time."""

    code = "signature_expired"


class Tampered(Refused):
    """A record that does not hang together as it was written."""

    code = "tampered"


class AlreadyExists(Refused):
    """A create-only object that somebody wrote first."""

    code = "already_exists"


class BundleMismatch(Refused):
    """A bundle that this build cannot run as it was trained (prompt version, base, tokenizer, pack)."""

    code = "bundle_mismatch"


class CanaryFailed(Refused):
    """The loaded model does not say what it said when it was trained, or says what the bare base says."""

    code = "canary_failed"


class PromotionRefused(Refused):
    code = "promotion_refused"


class AliasConflict(Refused):
    """Somebody else moved the alias first; read it again and decide again."""

    code, retryable = "alias_conflict", True


class TrainingDiverged(Refused):
    """A guard tripped: NaN, collapse or drift; the last good state is kept."""

    code = "training_diverged"


class Unauthorised(LiyouError):
    """No token or key, or none that is known."""

    code, status = "unauthorised", 401


class Forbidden(LiyouError):
    code, status = "forbidden", 403


class VersionMismatch(Refused):
    """A client and a cluster of different releases."""

    code = "version_mismatch"


class JobFailed(Refused):
    """A job that ended without a result; its logs say why."""

    code = "job_failed"


class DeployFailed(Refused):
    """A Serve application that did not come up; its replicas' logs say why."""

    code = "deploy_failed"


class Unavailable(LiyouError):
    code, status, retryable = "unavailable", 503, True


class StorageUnreachable(Unavailable):
    code = "storage_unreachable"


class NoResources(Unavailable):
    """A job that asks for more than the cluster has."""

    code = "no_resources"


class Overloaded(Unavailable):
    code, status = "overloaded", 503


class RateLimited(Unavailable):
    """More than the key may ask for; `retry_after_s` says when it may again."""

    code, status = "rate_limited", 429

    def __init__(self, message: str = "", *, retry_after_s: int = 1, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, fields=fields)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(Unavailable):
    """Not even a template was possible before the caller's deadline."""

    code, status = "deadline_exceeded", 504
