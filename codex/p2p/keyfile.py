"""The file that holds a node's secret key: read, or made once and never overwritten."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from codex.errors import CodexError, ConfigError, DecodeError, DiskFailed
from codex.p2p.identity import Entropy, Identity

MODE = 0o600
_LIMIT = 4096


def load_or_create(path: Path, entropy: Entropy) -> Identity:
    """The identity in the key file `path`; where there is none, a new one, written there and flushed first.

    The file must be readable and writable by its owner and by nobody else. Raises ConfigError when it is not,
    or holds no key, or cannot be reached; DiskFailed when the disk refuses.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        _create(path, Identity.generate(entropy))
    # Read back, also because another process may have been first.
    try:
        return _load(path)
    except FileNotFoundError as error:
        raise _refusal(path, "read", error) from error


def _load(path: Path) -> Identity:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refusal(path, "read", error) from error
    try:
        # Looked at through the open file, so that it is the one that is read.
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(
                f"the key file {path} is not a file", remedy="Name the file with --net-privkey."
            )
        if stat.S_IMODE(mode) != MODE:
            raise ConfigError(
                f"the key file {path} has mode {stat.S_IMODE(mode):04o}: only its owner may read it",
                remedy=f"Run: chmod 600 {path}",
            )
        return Identity.from_bytes(os.read(descriptor, _LIMIT))
    except DecodeError as error:
        raise ConfigError(
            f"the key file {path} holds no key: {error.message}",
            remedy="Put the right file there, or move it away: a new key is then made, with another peer id.",
        ) from error
    except OSError as error:
        raise _refusal(path, "read", error) from error
    finally:
        os.close(descriptor)


def _create(path: Path, identity: Identity) -> None:
    """Write the key to `path` unless something stands there: whole and flushed, or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with suppress(FileNotFoundError):
            fresh.unlink()
        try:
            _write(fresh, identity.to_bytes())
            # A link, where a rename would replace a key that appeared meanwhile.
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            with suppress(FileNotFoundError):
                fresh.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refusal(path, "made", error) from error


def _write(path: Path, data: bytes) -> None:
    """Make the file `path`, with `data` on the disk and readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        # The mode at creation is cut by the umask, which may take even the owner's bits.
        os.fchmod(descriptor, MODE)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, purpose: str, error: OSError) -> CodexError:
    message = f"the key file {path} cannot be {purpose}: {error.strerror or error}"
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ConfigError(
            message, remedy="Name a file in an existing directory of this user with --net-privkey."
        )
    return DiskFailed(message, remedy="Check the disk, or name another file with --net-privkey.")
