"""The viewer: results looked at and corrected in a browser on this machine, over an HTTP API (docs/viewer-api.md)."""
