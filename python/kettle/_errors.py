"""The errors of this package, in one place. The core makes them; users catch them as `kettle.OwnerDied` and so on."""

from kettle._session import native

__all__ = ["ConsumerDied", "KettleError", "OwnerDied", "ShutDown"]

KettleError = native.KettleError
OwnerDied = native.OwnerDied
ConsumerDied = native.ConsumerDied
ShutDown = native.ShutDown
