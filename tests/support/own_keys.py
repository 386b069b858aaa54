"""Keys of a deployment that others reach: settings refuse development keys there."""

from typing import Any

OWN_KEYS: dict[str, Any] = {
    "write_key": "w" * 24,
    "operator_key": "o" * 24,
    "link_keys": "k" * 32,
    "address_keys": "a" * 32,
    "payload_keys": f"own={'p' * 32}",
}
OWN_ENVIRONMENT: dict[str, str] = {f"TENURE_{name.upper()}": key for name, key in OWN_KEYS.items()}
