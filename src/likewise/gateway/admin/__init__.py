"""``/admin/*``: what an operator sees and does, behind a key."""

from likewise.gateway.admin.app import Admin

__all__ = ["Admin"]
