"""The control plane's HTTP interface, one file per resource."""

from vestibule.control.api.service import application

__all__ = ["application"]
